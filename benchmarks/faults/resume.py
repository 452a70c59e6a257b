"""Kill a training in every kind of situation: the same command must end with the same bytes (T3).

    python benchmarks/faults/resume.py                # fp32, 6 situations, under a minute
    python benchmarks/faults/resume.py --cells 13     # fp32 and bf16, and another number of threads

Situations: in the middle of an epoch, at the edge of one, between the micro-batches of an update, after a drop of the
rate, between validations that patience counts, and in two processes that share the updates; dropout is on in all. With
another number of threads the run must say so and read the same data in the same order.
"""

import json
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trials import faults, forked, options, reported, result, train, wait, workplace

USUAL = (
    "train.batch_tokens=1024", "train.max_updates=0", "train.max_epochs=3", "train.warmup=3",
    "model.encoder.dropout=0.3", "model.decoder.dropout=0.3",
)  # fmt: skip
SITUATIONS = {
    "in the middle of an epoch": (),
    "at the edge of an epoch": (),
    "between micro-batches": ("train.micro_batch_tokens=100",),
    "after a drop of the rate": ("train.schedule=cosine", "train.warmup=1"),
    "with patience": ("train.patience=2", "train.validate_every=2", "train.lr=0.5"),
    "in two processes": ("train.threads=2", "train.parallel=processes"),
}


@dataclass(frozen=True)
class Cell:
    """A situation, its settings, and those of the command that resumes (only `threads` may differ)."""

    name: str
    settings: tuple[str, ...]
    resumed: tuple[str, ...] = ()


def cells() -> list[Cell]:
    """Return the cells, fp32 first."""
    found = [
        Cell(f"{name}, {precision}", (*USUAL, *settings, f"train.precision={precision}"))
        for precision in ("fp32", "bf16")
        for name, settings in SITUATIONS.items()
    ]
    return [*found, Cell("another number of threads", USUAL, ("train.threads=2", "train.parallel=threads"))]


def watched(data: Path, run: Path, settings: tuple[str, ...], kill_at: int, in_update: bool, log: Path) -> int:
    """Train with notes in `log`; kill the process at update `kill_at`, or in the middle of the one after it."""
    from calque.report.progress import SilentDisplay, UpdateEvent
    from calque.training.objectives.objective import Learner

    class Notes(SilentDisplay):
        step = 0

        def update(self, event: UpdateEvent) -> None:
            Notes.step = event.step
            with log.open("a") as file:
                file.write(f"{event.step} {event.epoch}\n")
            if event.step == kill_at and not in_update:
                os.kill(os.getpid(), signal.SIGKILL)

        def note(self, text: str) -> None:
            with log.open("a") as file:
                file.write(f"note {text}\n")

    forward, calls = Learner.forward, [0]

    def counted(learner: Learner, *arguments: object) -> object:
        calls[0] += Notes.step == kill_at
        if in_update and calls[0] == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return forward(learner, *arguments)  # type: ignore[arg-type]

    if in_update:
        Learner.forward = counted  # type: ignore[method-assign, assignment]
    return train(data, run, settings, Notes())


def trial(folder: Path, data: Path, number: int, cell: Cell) -> list[str]:
    """Return the faults of a cell."""
    whole, run, log, other = (folder / f"{name}-{number}" for name in ("whole", "run", "log", "other"))
    if wait(forked(lambda: watched(data, whole, cell.settings, -1, False, log))) != 0:
        return ["the run without interruption failed"]
    epochs = [int(line.split()[1]) for line in log.read_text().splitlines() if not line.startswith("note")]
    edge = epochs.index(2)
    step = {"at": edge, "in": edge - 2}.get(cell.name.split()[0], edge + 2)
    step = min(step, len(epochs) - 1)
    in_update = cell.name.startswith("between")
    if wait(forked(lambda: watched(data, run, cell.settings, step, in_update, other))) != -signal.SIGKILL:
        return [f"it was not killed at step {step}"]
    other.unlink()
    settings = (*cell.settings, *cell.resumed)
    if wait(forked(lambda: watched(data, run, settings, -1, False, other))) != 0:
        return ["the same command failed"]
    if not cell.resumed:
        return faults(run, result(whole))
    rows = [[json.loads(line) for line in (one / "metrics.jsonl").read_text().splitlines()] for one in (whole, run)]
    tokens = [[(row["step"], row["epoch"], row["tokens"]) for row in part if row["kind"] == "train"] for part in rows]
    said = [line for line in other.read_text().splitlines() if line.startswith("note") and "threads" in line]
    return [*([] if tokens[0] == tokens[1] else ["the data came in another order"]), *([] if said else ["no notice"])]


def trials(folder: Path, data: Path, numbers: range) -> Iterator[tuple[str, list[str]]]:
    """Yield the name of each cell and its faults."""
    for number in numbers:
        cell = cells()[number]
        problems = trial(folder, data, number, cell)
        print(f"{cell.name}: {'equal' if not problems else 'BAD'}", flush=True)
        yield cell.name, problems


def main() -> int:
    """Print a line for each cell and a summary; exit 1 at the first fault."""
    assert __doc__
    parser = options(__doc__, "cells", len(SITUATIONS), "number of cells")
    parser.add_argument("--first", type=int, default=0, help="number of the first cell (default: 0)")
    chosen = parser.parse_args()
    with workplace(chosen.seed) as (folder, data):
        numbers = range(chosen.first, min(len(cells()), chosen.first + chosen.cells))

        def again(number: int) -> str:
            return f"--first {chosen.first + number} --cells 1 --seed {chosen.seed}"

        return reported(trials(folder, data, numbers), "cells", again)


if __name__ == "__main__":
    sys.exit(main())
