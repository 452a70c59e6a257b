"""SIGTERM and Ctrl-C: finish the update, save, leave. A second Ctrl-C leaves at once."""

import signal
import threading
from types import FrameType
from typing import Any


class Interruption:
    """Note the first signal while the block runs; `signal` is its number, 0 before. Elsewhere than in the main thread
    signals stay as they are."""

    def __init__(self) -> None:
        self.signal = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interruption":
        """Catch SIGTERM and SIGINT."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        """Put the handlers back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal:
            raise KeyboardInterrupt
        self.signal = number
