"""The live line of a training run on a terminal, drawn by rich, with notes and validations above it.

Each update redraws it: a thread would take time from the cores that train.
"""

import contextlib
import sys
import time
from collections.abc import Callable, Sequence
from typing import IO, Self, TextIO, cast

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from calque.report.page import printable
from calque.report.progress import UpdateEvent, ValidEvent, update_fields, valid_text

REDRAW_INTERVAL = 0.2
WIDEST_BAR, NARROWEST_BAR = 40, 6


class LiveLine:
    """Draw one update as a line that never wraps: the bar shrinks first, then fields are dropped."""

    def __init__(self, event: UpdateEvent) -> None:
        self.event = event

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Fit the line into the current width of the terminal."""
        fields = fit(update_fields(self.event), options.max_width)
        room = options.max_width - cell_len("  ".join(fields)) - 2
        line = Table.grid(padding=(0, 2, 0, 0))
        text = Text("  ".join(fields[1:]), no_wrap=True, overflow="ellipsis")
        first = Text(fields[0], style="bold", no_wrap=True, overflow="ellipsis")
        if room < NARROWEST_BAR or self.event.total_steps is None:
            line.add_row(first, text)
        else:
            bar = ProgressBar(total=self.event.total_steps, completed=self.event.step, width=min(room, WIDEST_BAR))
            line.add_row(first, bar, text)
        yield line


class Screen:
    """A stream that writes to a terminal, and discards the text once the terminal is closed.

    The run must not end with its terminal, and rich would end the process at a broken pipe.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.encoding = getattr(stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        """Write text, unless the terminal is closed."""
        with contextlib.suppress(OSError, ValueError):
            self.stream.write(text.encode(self.encoding, "backslashreplace").decode(self.encoding))
        return len(text)

    def flush(self) -> None:
        """Flush the stream, unless the terminal is closed."""
        with contextlib.suppress(OSError, ValueError):
            self.stream.flush()

    def isatty(self) -> bool:
        """Return true: a live line is only drawn on a terminal."""
        return True


class LiveDisplay:
    """A display that keeps one line about the run at the bottom of a terminal."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        screen = cast(IO[str], Screen(stream))
        self.console = Console(file=screen, force_terminal=True)
        self.clock = clock
        self._live: Live | None = None
        self._last_drawn = 0.0
        self._stream = stream

    def note(self, text: str) -> None:
        """Print `text` above the live line."""
        for line in text.splitlines():
            self.console.print(Text(printable(line)))

    def update(self, event: UpdateEvent) -> None:
        """Redraw the line, at most five times a second."""
        now = self.clock()
        if self._live is None:
            self._live = self._start()
        is_last = event.step == event.total_steps
        if now - self._last_drawn >= REDRAW_INTERVAL or self._last_drawn == 0.0 or is_last:
            self._last_drawn = now
            self._live.update(LiveLine(event), refresh=True)

    def validated(self, event: ValidEvent) -> None:
        """Print the scores, and under them the sample, above the live line."""
        self.console.print(Text(valid_text(event), style="bold green" if event.is_best else "bold"))
        if event.source:
            self.console.print(_sample(event))

    def close(self) -> None:
        """Leave the last line on the screen and show the cursor again."""
        if self._live is not None:
            self._live.stop()
        self._live = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _start(self) -> Live:
        # Libraries write warnings to sys.stderr: redirected, they appear above the line instead of inside it.
        is_error_stream = self._stream is sys.stderr
        live = Live(console=self.console, auto_refresh=False, redirect_stdout=False, redirect_stderr=is_error_stream)
        live.start()
        return live


def fit(fields: Sequence[str], width: int) -> list[str]:
    """Return the fields that fit into `width` cells, dropping the least important; the first field always stays."""
    kept = list(fields)
    with_bar = width - NARROWEST_BAR - 2
    # The bar is more important than the rate and the epoch, and less important than the best score.
    for prefix, room in (("lr ", with_bar), ("epoch ", with_bar), ("best ", width)):
        if cell_len("  ".join(kept)) > room:
            kept = [part for part in kept if not part.startswith(prefix)]
    while len(kept) > 1 and cell_len("  ".join(kept)) > width:
        kept.pop(-2 if len(kept) > 2 else -1)
    return kept


def _sample(event: ValidEvent) -> Table:
    rows = [("source", event.source, ""), ("reference", event.reference, "dim"), ("output", event.output, "")]
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for label, text, style in rows:
        if text or label == "output":
            grid.add_row(f"  {label}", Text(printable(text), style=style))
    return grid
