"""The roofs that the silicon sets: products a second in fp32, bf16 and int8, and bytes a second of memory."""

import sys
from pathlib import Path

from benchmarks.speed import machine, measure

HERE = Path(__file__).parent


def run(journal: machine.Journal, work: Path, threads: tuple[int, ...]) -> None:
    """Measure every roof with each number of threads and write it down."""
    for count in threads:
        command = [sys.executable, str(HERE / "adapters" / "roof.py"), str(count)]
        watched = measure.watch(measure.Child(command, measure.environment(count), work / "logs" / f"roof-{count}.log"))
        for _, message in watched.events:
            journal.write({"kind": "roof", "threads": count, **message})
