"""Stop a whole training at its file operations: killed (T2), after a power cut (T2), or on a full disk (T5).

    python benchmarks/faults/file_operations.py --as kill          # 20 operations, under a minute
    python benchmarks/faults/file_operations.py --as power-cut
    python benchmarks/faults/file_operations.py --as full-disk
    python benchmarks/faults/file_operations.py --as kill --every 1    # every operation, about 15 minutes

A shim counts opening, writing, fsync, renaming and removing in the run's folder, and fails at operation n: as SIGKILL
does; as a power cut, which also loses what was not fsynced; or with ENOSPC, once, for operations that write. The same
command must then end with the bytes of an uninterrupted run and without temporary files. On a full disk the training
must continue, or end with exit code 4 and a message with the path and the bytes that are needed and free.
"""

import argparse
import errno
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from trials import faults, forked, options, reported, result, train, wait, workplace

WRITING = ("open", "write", "fsync", "rename", "replace", "mkdir")
KILLED = 99


def shim() -> ModuleType:
    """Return the module of the disk that fails, which belongs to the tests."""
    path = Path(__file__).parents[2] / "tests/unit/folder/training_disk.py"
    specification = importlib.util.spec_from_file_location("training_disk", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def on_failing_disk(data: Path, run: Path, kind: str, number: int, log: Path) -> int:
    """Train with a disk that fails at operation `number`; return the exit code, KILLED if the run was stopped there."""
    module = shim()
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) if kind == "full-disk" else module.Killed()
    code = KILLED
    with pytest.MonkeyPatch.context() as patch:
        disk = module.Disk(patch, run, number, error)
        try:
            code = train(data, run)
        except module.Killed:
            assert disk.dead
        finally:
            patch.undo()
            log.write_text(" ".join(disk.log))
    if kind == "power-cut" and disk.dead:
        disk.lose_what_is_not_synced()
    return code


def trials(folder: Path, data: Path, chosen: argparse.Namespace) -> Iterator[tuple[str, list[str]]]:
    """Yield the name of each trial and its faults."""
    log, output, kind = folder / "log", folder / "output", chosen.kind
    whole = folder / "whole"
    assert wait(forked(lambda: on_failing_disk(data, whole, "kill", 10**9, log))) == 0
    operations, expected = log.read_text().split(), result(whole)
    places = [place for place, operation in enumerate(operations, 1) if kind != "full-disk" or operation in WRITING]
    step = chosen.every or max(1, len(places) // chosen.operations)
    places = [chosen.only] if chosen.only else places[::step]
    chosen.tried.extend(places)
    print(f"{len(operations)} file operations, {len(places)} of them tried", flush=True)
    for place in places:
        run, problems = folder / f"run-{place}", list[str]()
        code = wait(forked(lambda run=run, place=place: on_failing_disk(data, run, kind, place, log), output))
        if kind == "full-disk":
            text = output.read_text()
            named = "needed:" in text.lower() and "free there" in text and str(run) in text
            if code not in (0, 4) or (code == 4 and not named):
                problems.append(f"exit code {code}: {text[:300]!r}")
        elif code not in (KILLED, 0):
            problems.append(f"exit code {code}: {output.read_text()[:300]!r}")
        code = wait(forked(lambda run=run: train(data, run), output))
        problems += (
            [f"the same command exited with {code}: {output.read_text()[:300]!r}"] if code else faults(run, expected)
        )
        yield f"operation {place} ({operations[place - 1]})", problems


def main() -> int:
    """Print a summary; exit 1 at the first fault."""
    assert __doc__
    parser = options(__doc__, "operations", 20, "number of operations, spread over the run")
    parser.add_argument("--as", dest="kind", choices=("kill", "power-cut", "full-disk"), default="kill")
    parser.add_argument("--every", type=int, default=0, help="instead of --operations: try every n-th operation")
    parser.add_argument("--only", type=int, default=0, help="try only the operation of this number")
    chosen = parser.parse_args(namespace=argparse.Namespace(tried=[]))
    with workplace(chosen.seed) as (folder, data):
        return reported(
            trials(folder, data, chosen),
            f"operations as {chosen.kind}",
            lambda number: f"--as {chosen.kind} --only {chosen.tried[number]} --seed {chosen.seed}",
        )


if __name__ == "__main__":
    sys.exit(main())
