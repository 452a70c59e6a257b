"""Run one adapter as a child process: when each of its messages came, and how much memory it held at most.

An adapter prints messages as lines of `@` and a JSON object; whatever else it prints is its log.
"""

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MARK = "@"
# Looking through a process's pages takes milliseconds: seldom enough to cost nothing. A shorter peak may be missed.
INTERVAL = 0.5
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")

Event = tuple[float, dict[str, Any]]


class ChildError(Exception):
    """Tell that a child ended badly, in its own last line."""


@dataclass
class Watched:
    """Hold what a child did: its messages with the second each came at, the peak of its memory, its time."""

    events: list[Event] = field(default_factory=list)
    peak_bytes: int = 0
    seconds: float = 0.0

    def said(self, name: str) -> list[Any]:
        """Return the values that messages gave `name`."""
        return [message[name] for _, message in self.events if name in message]


@dataclass(frozen=True)
class Child:
    """Say how a child is run: command, environment, the file of its log, and for how many seconds at most."""

    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    limit: float = 3600.0


def environment(threads: int) -> dict[str, str]:
    """Return this process's environment with the number of threads set for every library that reads one."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    return kept | dict.fromkeys(THREAD_VARIABLES, str(threads)) | {"TOKENIZERS_PARALLELISM": "false"}


def watch(child: Child, enough: Callable[[dict[str, Any]], bool] = lambda _: False) -> Watched:
    """Run a child to its end, or until a message is `enough`; raise ChildError when it ends badly or takes too long."""
    watched = Watched()
    start = time.perf_counter()
    child.log.parent.mkdir(parents=True, exist_ok=True)
    with child.log.open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            child.command,
            env=dict(child.environment),
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
        late = threading.Timer(child.limit, _end, [process])
        sampler = threading.Thread(target=_sample, args=[process, watched], daemon=True)
        late.start()
        sampler.start()
        stopped = False
        assert process.stdout is not None
        for line in process.stdout:
            now = time.perf_counter() - start
            if not line.startswith(MARK):
                log.write(line)
                continue
            watched.events.append((now, json.loads(line[len(MARK) :])))
            if enough(watched.events[-1][1]):
                stopped = True
                break
        watched.seconds = time.perf_counter() - start
        late.cancel()
        if stopped:
            _end(process)
        process.wait()
        _end(process)
        sampler.join()
        process.stdout.close()
    if not watched.peak_bytes and watched.seconds > 2 * INTERVAL:
        raise ChildError("its memory could not be read from /proc")
    if process.returncode and not stopped:
        why = last_line(child.log) or f"no output, exit code {process.returncode}"
        what = f"longer than {child.limit:.0f} s" if watched.seconds >= child.limit else why
        raise ChildError(what)
    return watched


def last_line(log: Path) -> str:
    """Return the line of a log that tells best why a process ended: the last that is no mere traceback."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    named = [line for line in lines if "Error" in line or "error:" in line]
    return (named or lines or [""])[-1][:300]


def tree_bytes(process: int) -> int:
    """Return the memory that a process and all its children hold; what some of them share counts once (PSS)."""
    total, waiting = 0, [process]
    while waiting:
        folder = Path(f"/proc/{waiting.pop()}")
        try:
            held = next(line for line in (folder / "smaps_rollup").read_text().splitlines() if line.startswith("Pss:"))
            total += int(held.split()[1]) * 1024
            for task in (folder / "task").iterdir():
                waiting += [int(child) for child in (task / "children").read_text().split()]
        except (OSError, ValueError, StopIteration):
            continue
    return total


def _sample(process: subprocess.Popen[str], watched: Watched) -> None:
    while process.poll() is None:
        watched.peak_bytes = max(watched.peak_bytes, tree_bytes(process.pid))
        time.sleep(INTERVAL)


def _end(process: subprocess.Popen[str]) -> None:
    """End a child with all that it started; its group is its own."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return
