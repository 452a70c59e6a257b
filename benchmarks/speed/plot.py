"""Draw cost against work, one panel for each thing that grows, as an SVG file."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from benchmarks.speed.machine import Record
from benchmarks.speed.table import last_run

COLUMNS = 2


def draw(records: Sequence[Record], path: Path) -> None:
    """Write the picture; SystemExit when nothing was measured."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    # Text stays text, and the same numbers give the same file.
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "cost"})
    measured: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        if record["kind"] == "cost":
            measured[record["against"], record["unit"]].append(record)
    curves = {
        names: [(record["amount"], record["value"]) for record in last_run(group)] for names, group in measured.items()
    }
    if not curves:
        raise SystemExit("nothing was measured yet: run the subcommand cost")
    rows = -(-len(curves) // COLUMNS)
    figure, axes = pyplot.subplots(rows, COLUMNS, figsize=(9, 3 * rows), squeeze=False, layout="constrained")
    for place, ((against, unit), points) in zip(axes.flat, curves.items(), strict=False):
        amounts, values = zip(*sorted(points), strict=True)
        place.plot(amounts, values, marker="o")
        place.set(xlabel=against, ylabel=unit, ylim=(0, 1.1 * max(values)))
        if max(amounts) >= 100 * min(amounts):
            place.set_xscale("log")
        place.grid(alpha=0.3)
    for place in list(axes.flat)[len(curves) :]:
        place.set_visible(False)
    figure.savefig(path, metadata={"Date": None})
    print(f"{path} is written")
