"""SIGTERM and Ctrl-C: stop at the next safe point, save, exit. A second signal exits at once."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Interrupted(BaseException):
    """The signal `number` has arrived in work that may be abandoned."""

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.number = number


class Interruption:
    """A block in which the first signal is recorded; `signal` is its number, 0 before.

    Inside `raising` the signal also raises `Interrupted`, so that long work ends within a second. Outside the main
    thread the handlers are not changed.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._raises = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interruption":
        """Catch SIGTERM and SIGINT."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        """Restore the handlers."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def raising(self) -> Iterator[None]:
        """Raise `Interrupted` when a signal arrives in the block, or at once if one has arrived before."""
        before, self._raises = self._raises, True
        try:
            if self.signal:
                raise Interrupted(self.signal)
            yield
        finally:
            self._raises = before

    @contextmanager
    def deferring(self) -> Iterator[None]:
        """Only record a signal that arrives in the block; the block itself decides when to stop."""
        before, self._raises = self._raises, False
        try:
            yield
        finally:
            self._raises = before

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal:
            raise KeyboardInterrupt
        self.signal = number
        if self._raises:
            raise Interrupted(number)
