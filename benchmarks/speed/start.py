"""Start: how long `calque generate MODEL TEXT` takes to its first answer, beside `import torch` alone."""

import sys
from pathlib import Path

from benchmarks.speed import measure
from benchmarks.speed.data import COMMAND
from benchmarks.speed.machine import Journal
from benchmarks.speed.rounds import turned

TEXT = "a man in a blue shirt is standing on a ladder ."


def run(model: Path, work: Path, journal: Journal, rounds: int) -> None:
    """Measure each command once to warm the disk's cache, then in turn."""
    commands = {
        "import torch": [sys.executable, "-c", "import torch"],
        "calque generate": [*COMMAND, "generate", str(model), TEXT, "--quiet"],
        "calque --help": [*COMMAND, "--help"],
    }
    names = list(commands)
    for number in range(rounds + 1):
        for name in turned(names, number):
            child = measure.Child(commands[name], measure.environment(2), work / "logs" / "start.log")
            seconds = measure.watch(child).seconds
            if number:
                journal.write({"kind": "start", "system": name, "round": number, "seconds": seconds})
                print(f"{name:16} round {number}: {seconds:.2f} s", flush=True)
