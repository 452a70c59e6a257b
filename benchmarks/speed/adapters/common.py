"""What every adapter needs, with the standard library alone: it runs in each peer's own environment."""

import importlib.metadata
import json
import multiprocessing
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Width, inner width and heads of the Transformers of 4 + 4 layers that are measured: calque's `small` and `tiny`.
SIZES = {"small": (256, 1024, 4), "tiny": (128, 256, 4)}

Job = dict[str, Any]
Translate = Callable[[list[str]], list[str]]


def read_job() -> Job:
    """Return the job named on the command line."""
    return json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))


def say(**message: Any) -> None:
    """Send a message to the benchmark."""
    sys.__stdout__.write("@" + json.dumps(message) + "\n")
    sys.__stdout__.flush()


def say_versions(*packages: str) -> None:
    """Tell the versions of packages."""
    say(versions={name: importlib.metadata.version(name) for name in packages})


def lines_of(command: list[str]) -> Iterator[str]:
    """Run a command and yield what it prints, line by line; SystemExit with its code when it fails."""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            sys.stderr.write(line)
            yield line
    if process.returncode:
        raise SystemExit(process.returncode)


def decode(job: Job, load: Callable[[Job], Translate]) -> None:
    """Translate the job's lines with so many processes, each with a share of them, and tell the seconds it took.

    Loading and a warm-up on the first lines come before the clock starts. The answers go to the job's `answers` file.
    """
    lines = Path(job["lines"]).read_text(encoding="utf-8").splitlines()
    count = job["workers"] if job.get("processes", True) else 1
    shares = [lines[number::count] for number in range(count)]
    if count == 1:
        translate = load(job)
        translate(lines[: job["warmup"]])
        start = time.perf_counter()
        answered = [translate(lines)]
        seconds = time.perf_counter() - start
    else:
        answered, seconds = _in_processes(job, load, shares)
    answers = [""] * len(lines)
    for number, share in enumerate(answered):
        answers[number::count] = share
    Path(job["answers"]).write_text("".join(f"{' '.join(line.split())}\n" for line in answers), encoding="utf-8")
    say(seconds=seconds, sentences=len(lines))


def _in_processes(job: Job, load: Callable[[Job], Translate], shares: list[list[str]]) -> tuple[list[list[str]], float]:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(len(shares) + 1)
    pipes = [context.Pipe(duplex=False) for _ in shares]
    workers = [
        context.Process(target=_work, args=(job, load, share, barrier, pipe[1]), daemon=True)
        for share, pipe in zip(shares, pipes, strict=True)
    ]
    for worker, (_, sender) in zip(workers, pipes, strict=True):
        worker.start()
        # With no other end open, a process that dies is the end of its pipe.
        sender.close()
    _meet(barrier)
    found = [receiver.recv() for receiver, _ in pipes]
    # perf_counter is the machine's monotonic clock here: the same in every process. This one may wake up last.
    return [answers for answers, _, _ in found], max(end for _, _, end in found) - min(start for _, start, _ in found)


def _meet(barrier: Any) -> None:
    """Wait for the others; leave without a word where one of them could not load, and has said why."""
    try:
        barrier.wait()
    except threading.BrokenBarrierError:
        raise SystemExit(1) from None


def _work(job: Job, load: Callable[[Job], Translate], share: list[str], barrier: Any, sender: Any) -> None:
    try:
        translate = load(job)
        translate(share[: job["warmup"]])
        _meet(barrier)
    except Exception:
        # Said before the others leave: the first process ends this one when it does.
        traceback.print_exc()
        barrier.abort()
        raise SystemExit(1) from None
    start = time.perf_counter()
    answers = translate(share)
    sender.send((answers, start, time.perf_counter()))
