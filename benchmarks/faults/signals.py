"""Send SIGTERM or Ctrl-C to a training at random moments: it saves and exits, and continues to the same bytes (T7).

    python benchmarks/faults/signals.py                 # 12 signals, under a minute
    python benchmarks/faults/signals.py --signals 40    # about two minutes

Each trial starts a forked training and signals it at a random moment. It must end within 3 seconds (a step and a save
of this tiny model take milliseconds); the same command must then complete the run, with the bytes of an uninterrupted
one. In every fourth trial a second signal follows: the process must leave within a second, with or without saving.
"""

import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from trials import faults, forked, options, reported, result, train, wait, workplace


def signalled(folder: Path, data: Path, numbers: range, seed: int) -> Iterator[tuple[str, list[str]]]:
    """Yield the name of each trial and its faults."""
    begin = time.monotonic()
    assert wait(forked(lambda: train(data, folder / "whole"))) == 0
    whole, expected = time.monotonic() - begin, result(folder / "whole")
    for number in numbers:
        draw, run, problems = random.Random(f"{seed} {number}"), folder / f"run-{number}", list[str]()
        kind, is_twice = draw.choice((signal.SIGTERM, signal.SIGINT)), number % 4 == 3
        # Before this the process has no handler: a signal then simply ends it.
        moment = draw.uniform(0.1, 0.95) * whole
        child = forked(lambda run=run: train(data, run))
        time.sleep(moment)
        sent = time.monotonic()
        for _ in range(2 if is_twice else 1):
            os.kill(child, kind)
            time.sleep(0.01)
        code = wait(child, 10)
        seconds = time.monotonic() - sent
        if seconds > (1 if is_twice else 3):
            problems.append(f"left after {seconds:.1f} s")
        allowed = {int(kind), 0} | ({130, -int(kind)} if is_twice or not run.exists() else set())
        if code not in allowed:
            problems.append(f"exit code {code}")
        code = wait(forked(lambda run=run: train(data, run)))
        problems += [f"the same command exited with {code}"] if code else faults(run, expected)
        yield f"{kind.name}{' twice' if is_twice else ''} after {moment:.2f} s", problems


def main() -> int:
    """Print a summary; exit 1 at the first fault."""
    assert __doc__
    parser = options(__doc__, "signals", 12, "number of signals")
    parser.add_argument("--first", type=int, default=0, help="number of the first trial (default: 0)")
    chosen = parser.parse_args()
    with workplace(chosen.seed) as (folder, data):
        trials = signalled(folder, data, range(chosen.first, chosen.first + chosen.signals), chosen.seed)
        return reported(
            trials, "signals", lambda number: f"--first {chosen.first + number} --signals 1 --seed {chosen.seed}"
        )


if __name__ == "__main__":
    sys.exit(main())
