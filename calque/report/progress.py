"""The display of a training run: one live line on a terminal, plain lines in a file, or nothing.

A display never changes a run: even a closed terminal must not end it.
"""

import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, Self, TextIO

from calque.report.page import printable

PLAIN_INTERVAL = 10.0


@dataclass(frozen=True)
class UpdateEvent:
    """One update: `best` is the best score so far as text; unknown values are None or ''."""

    step: int
    total_steps: int | None
    epoch: int
    loss: float
    learning_rate: float
    tokens_per_second: float
    best: str = ""
    seconds_left: float | None = None


@dataclass(frozen=True)
class ValidEvent:
    """One validation and one sample of it; `output` is the model's answer to `source`."""

    step: int
    loss: float
    scores: Mapping[str, float] = field(default_factory=dict)
    is_best: bool = False
    source: str = ""
    reference: str = ""
    output: str = ""


class Display(Protocol):
    """The display of a run. Use it in a `with` block, or call `close`."""

    def note(self, text: str) -> None:
        """Print a line that stays, such as a default with its reason."""

    def update(self, event: UpdateEvent) -> None:
        """Show an update."""

    def validated(self, event: ValidEvent) -> None:
        """Print the scores of a validation and a sample; both stay."""

    def close(self) -> None:
        """Release the screen; a second call does nothing."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...


class SilentDisplay:
    """A display that shows nothing."""

    def note(self, text: str) -> None:
        """Do nothing."""

    def update(self, event: UpdateEvent) -> None:
        """Do nothing."""

    def validated(self, event: ValidEvent) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class PlainDisplay:
    """Print whole lines without control characters: at most one update in ten seconds, notes and validations always."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self.stream = stream
        self.clock = clock
        self._last_line: float | None = None

    def note(self, text: str) -> None:
        """Print `text`, line by line."""
        for line in text.splitlines():
            self._write(printable(line))

    def update(self, event: UpdateEvent) -> None:
        """Print the first update at once, later ones when ten seconds have passed since a line about the run."""
        now = self.clock()
        if self._last_line is None or now - self._last_line >= PLAIN_INTERVAL:
            self._last_line = now
            self._write("  ".join(update_fields(event)))

    def validated(self, event: ValidEvent) -> None:
        """Print scores and sample as one line, so that a log can be searched by line."""
        self._last_line = self.clock()
        sample = f"  |  {printable(event.source)} → {printable(event.output)}" if event.source else ""
        reference = f"  (reference: {printable(event.reference)})" if event.source and event.reference else ""
        self._write(valid_text(event) + sample + reference)

    def close(self) -> None:
        """Do nothing: every line is already written."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _write(self, line: str) -> None:
        try:
            encoding = getattr(self.stream, "encoding", None) or "utf-8"
            self.stream.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")
            self.stream.flush()
        except (OSError, ValueError):
            # A closed pipe or a full disk must not end the run.
            return


def display_for(stream: TextIO, quiet: bool) -> Display:
    """Return the display that suits `stream`: live on a terminal that can move its cursor, else plain; quiet: silent.

    NO_COLOR removes the colours of the live line; TERM=dumb gives plain lines.
    """
    if quiet:
        return SilentDisplay()
    if stream.isatty() and os.environ.get("TERM", "dumb") not in ("", "dumb", "unknown"):
        from calque.report.live import LiveDisplay

        return LiveDisplay(stream)
    return PlainDisplay(stream)


def update_fields(event: UpdateEvent) -> list[str]:
    """Return the parts of an update's line in reading order, without those that are unknown."""
    total = "" if event.total_steps is None else f"/{event.total_steps:,}"
    fields = [
        f"step {event.step:,}{total}",
        f"epoch {event.epoch}",
        f"loss {event.loss:.3f}",
        f"lr {event.learning_rate:.2e}",
        f"{event.tokens_per_second:,.0f} tok/s",
    ]
    if event.best:
        fields.append(f"best {printable(event.best)}")
    if event.seconds_left is not None and math.isfinite(event.seconds_left):
        fields.append(f"{duration(event.seconds_left)} left")
    return fields


def valid_text(event: ValidEvent) -> str:
    """Return the scores of a validation as one line."""
    scores = [f"{printable(name)} {score:.2f}" for name, score in event.scores.items()]
    best = ["best so far"] if event.is_best else []
    return "  ".join([f"validation at step {event.step:,}", f"loss {event.loss:.3f}", *scores, *best])


def duration(seconds: float) -> str:
    """Return a time for people: '45 s', '12 min', '3 h 05 min'."""
    seconds = max(0.0, seconds)
    if seconds < 89.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
