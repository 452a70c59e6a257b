"""A progress bar of the lines that are done, for a long `generate` on a terminal."""

import contextlib
from collections.abc import Callable, Iterator
from typing import TextIO


@contextlib.contextmanager
def counter_for(stream: TextIO, quiet: bool, total: int) -> Iterator[Callable[[int], None]]:
    """Yield a function that adds a number of finished lines to the bar; there is no bar without a terminal."""
    if quiet or not stream.isatty():
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("lines"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=stream), transient=True) as progress:
        task = progress.add_task("lines", total=total)
        yield lambda count: progress.advance(task, count)
