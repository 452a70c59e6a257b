"""Start several trainers in one folder at once: one trains, the others are refused and name its PID (T13).

    python benchmarks/faults/two_trainers.py                # 10 rounds, under a minute
    python benchmarks/faults/two_trainers.py --rounds 60    # about three minutes

In each round three forked trainers start in the same new folder. Then the one that trains is killed, and the same
command must take over its stale lock and end with the bytes of an uninterrupted run.
"""

import os
import random
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from trials import faults, forked, options, reported, result, train, wait, workplace

TRAINERS = 3


def rounds(folder: Path, data: Path, numbers: range, seed: int) -> Iterator[tuple[str, list[str]]]:
    """Yield the name of each round and its faults."""
    begin = time.monotonic()
    assert wait(forked(lambda: train(data, folder / "whole"))) == 0
    whole, expected = time.monotonic() - begin, result(folder / "whole")
    for number in numbers:
        draw, run = random.Random(f"{seed} {number}"), folder / f"run-{number}"
        outputs = [folder / f"output-{number}-{trainer}" for trainer in range(TRAINERS)]
        children = [forked(lambda run=run: train(data, run), output) for output in outputs]
        deadline = time.monotonic() + draw.uniform(0.4, 0.9) * whole
        ended: dict[int, int] = {}
        while len(ended) < TRAINERS - 1 or time.monotonic() < deadline:
            for child in children:
                done, status = os.waitpid(child, os.WNOHANG) if child not in ended else (0, 0)
                if done:
                    ended[child] = os.waitstatus_to_exitcode(status)
            if len(ended) == TRAINERS or time.monotonic() > deadline + 20:
                break
            time.sleep(0.002)
        left = [child for child in children if child not in ended]
        refused = [child for child in ended if ended[child] == 4]
        problems = [] if len(refused) == TRAINERS - 1 else [f"exit codes {sorted(ended.values())}, {len(left)} train"]
        trainer = next((child for child in children if child not in refused), 0)
        for child, output in zip(children, outputs, strict=True):
            found = re.search(r"Process (\d+|unknown) is training", output.read_text()) if child in refused else None
            # The holder writes its number just after it has locked the file.
            if child in refused and (not found or found[1] not in (str(trainer), "unknown")):
                problems.append(f"the refusal names no process that trains: {output.read_text()[:100]!r}")
        for child in left:
            os.kill(child, 9)
            os.waitpid(child, 0)
        code = wait(forked(lambda run=run: train(data, run)))
        problems += [f"after the kill the same command exited with {code}"] if code else faults(run, expected)
        yield f"round {number}", problems


def main() -> int:
    """Print a summary; exit 1 at the first fault."""
    assert __doc__
    parser = options(__doc__, "rounds", 10, "number of rounds")
    parser.add_argument("--first", type=int, default=0, help="number of the first round (default: 0)")
    chosen = parser.parse_args()
    with workplace(chosen.seed) as (folder, data):
        trials = rounds(folder, data, range(chosen.first, chosen.first + chosen.rounds), chosen.seed)
        return reported(
            trials, "rounds", lambda number: f"--first {chosen.first + number} --rounds 1 --seed {chosen.seed}"
        )


if __name__ == "__main__":
    sys.exit(main())
