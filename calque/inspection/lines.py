"""A comparison as lines for a person, or as one object for a program."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from calque.inspection.comparison import Comparison, Difference
from calque.metrics.paired import Paired

WIDTH = 100
LINES_SHOWN = 2


def as_object(found: Comparison) -> dict[str, Any]:
    """Return a comparison as a dictionary that JSON can hold."""
    return dataclasses.asdict(found) | {"scores": [score.as_dict() for score in found.scores]}


def lines(found: Comparison) -> Iterator[str]:
    """Yield the lines of a comparison."""
    yield f"A  {found.names[0]}"
    yield f"B  {found.names[1]}"
    yield ""
    rows = [
        ("metric", "A", "B", "B - A", "95 % interval", "p bootstrap", "p random", "better"),
        *map(_row, found.scores),
    ]
    yield from _table(rows)
    if found.parts:
        yield ""
        name = found.scores[0].metric
        parts = [
            (part.name, f"{part.num_lines:,}", f"{part.first:.2f}", f"{part.second:.2f}", f"{part.difference:+.2f}")
            for part in found.parts
        ]
        yield from _table([(f"{name} by slice", "lines", "A", "B", "B - A"), *parts])
    yield ""
    yield (
        f"By {found.line_metric} of each line, B is better on {found.num_wins:,} lines, worse on {found.num_losses:,}"
        f" and equal on {found.num_ties:,}."
    )
    for title, shown in (("Lines on which B gains most:", found.wins), ("Lines on which B loses most:", found.losses)):
        if shown:
            yield from ("", title)
            for difference in shown[:LINES_SHOWN]:
                yield from _texts(difference)


def _row(score: Paired) -> tuple[str, ...]:
    better = {"first": "A", "second": "B", "neither": "-"}[score.better]
    values = (f"{score.first:.2f}", f"{score.second:.2f}", f"{score.difference:+.2f}")
    interval = f"{score.low:+.2f} to {score.high:+.2f}"
    return (score.metric, *values, interval, f"{score.p_bootstrap:.3f}", f"{score.p_randomisation:.3f}", better)


def _texts(difference: Difference) -> Iterator[str]:
    yield f"  line {difference.line:,} ({difference.gain:+.1f})"
    for name, text in (
        ("source", difference.source),
        ("reference", difference.reference),
        ("A", difference.first),
        ("B", difference.second),
    ):
        yield f"    {name:9}  {_shortened(text)}"


def _shortened(text: str) -> str:
    text = text.replace("\t", " | ")
    return text if len(text) <= WIDTH else text[: WIDTH - 1] + "…"


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield rows with aligned columns, the first to the left and the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        first, *others = (
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join([first, *others]).rstrip()
