"""What the figures were measured on: processor, cores, memory, versions; and the journal that all results go to."""

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# What decides which arithmetic the silicon does at full speed.
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_tile", "amx_bf16", "amx_int8")
BF16 = ("avx512_bf16", "amx_bf16")
PACKAGES = ("calque", "torch", "numpy", "sentencepiece", "transformers", "ctranslate2", "tensorflow")

Record = dict[str, Any]


def facts() -> Record:
    """Return the machine and the versions in the environment that runs the benchmark."""
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    named = {name.strip(): value.strip() for name, value in fields.items()}
    has = set(named.get("flags", "").split())
    return {
        "kind": "machine",
        "cpu": named.get("model name", platform.processor()),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "flags": [flag for flag in FLAGS if flag in has],
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "versions": dict(versions()),
        "commit": _commit(),
        "command": " ".join(["python", *sys.argv]),
    }


def has_bf16(machine: Record) -> bool:
    """Return whether the silicon multiplies bf16."""
    return any(flag in BF16 for flag in machine["flags"])


def versions() -> Iterator[tuple[str, str]]:
    """Yield the packages of this environment that matter, with their versions."""
    for name in PACKAGES:
        try:
            yield name, importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue


class Journal:
    """Append records to `results.jsonl` of a folder; all of one invocation bear the same `run`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "results.jsonl"
        self.run = time.strftime("%Y%m%d-%H%M%S")

    def write(self, record: Record) -> None:
        """Append a record at once, so that a run that is cut off loses nothing."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"run": self.run, **record}, ensure_ascii=False) + "\n")

    def begin(self) -> Record:
        """Write the machine down and return it."""
        machine = facts()
        self.write(machine)
        return machine


def read_journal(folder: Path) -> list[Record]:
    """Return all records of a results folder, oldest first."""
    lines = (folder / "results.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if line.strip()]


def _commit() -> str:
    place = Path(__file__).parent
    command = ["git", "-C", str(place), "describe", "--always", "--dirty"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip()
