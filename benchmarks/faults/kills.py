"""Kill a training at random moments, completion included: the same command must end with the same bytes (T1).

    python benchmarks/faults/kills.py                # 20 kills, under a minute
    python benchmarks/faults/kills.py --kills 500    # about 10 minutes; in two parts: --kills 250, --seed 1 and 2

trains a tiny model without interruption, then again and again with SIGKILL at a random moment of each start, until all
kills are spent; every other kill comes while a file is being written. Each start is a forked process of one thread.
"""

import os
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from trials import faults, forked, options, reported, result, train, wait, workplace


def kill_at(child: int, moment: float, run: Path, in_write: bool) -> bool:
    """Kill a process after `moment` seconds, or in the next write after it; return False if it had ended."""
    deadline = time.monotonic() + moment
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert os.waitstatus_to_exitcode(status) == 0, f"{run}: the training failed"
            return False
        is_due = time.monotonic() >= deadline
        if is_due and (not in_write or any(run.rglob("*tmp-*"))):
            os.kill(child, 9)
            os.waitpid(child, 0)
            return True
        time.sleep(0.0002)


def killed_runs(folder: Path, data: Path, kills: int, draw: random.Random) -> Iterator[tuple[str, list[str]]]:
    """Yield each run that was killed again and again, with its faults."""
    begin = time.monotonic()
    assert wait(forked(lambda: train(data, folder / "whole"))) == 0
    whole, expected = time.monotonic() - begin, result(folder / "whole")
    print(f"an uninterrupted run takes {whole:.2f} s", flush=True)
    spent = number = 0
    while spent < kills:
        number += 1
        run, before = folder / f"run-{number}", spent
        while spent < kills and kill_at(
            forked(lambda run=run: train(data, run)), draw.uniform(0, whole), run, spent % 2 == 1
        ):
            spent += 1
        if spent == kills:
            kill_at(forked(lambda run=run: train(data, run)), 1e9, run, False)
        print(f"run {number}: {spent - before} kills, {spent} of {kills} in all", flush=True)
        yield f"run {number} with {spent - before} kills", faults(run, expected)


def main() -> int:
    """Print a line for each run and a summary; exit 1 at the first fault."""
    assert __doc__
    chosen = options(__doc__, "kills", 20, "number of kills").parse_args()
    with workplace(chosen.seed) as (folder, data):
        trials = killed_runs(folder, data, chosen.kills, random.Random(chosen.seed))
        return reported(
            trials, f"runs with {chosen.kills} kills", lambda _: f"--kills {chosen.kills} --seed {chosen.seed}"
        )


if __name__ == "__main__":
    sys.exit(main())
