"""Shared by the scripts of this folder: a tiny training in a forked process, its result, and the report of trials."""

import argparse
import hashlib
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

SETTINGS = (
    "train.precision=fp32", "train.device=cpu", "train.threads=1", "train.batch_tokens=256", "train.max_updates=12",
    "train.validate_every=3", "train.save_every=2", "train.validation_sentences=8", "model.encoder.width=32",
    "model.decoder.width=32", "text.source.kind=character", "text.target.kind=character", "search.beam=2",
)  # fmt: skip
COMPLETE = ("model.safetensors", "recipe.json", "metrics.jsonl", "manifest.json", "report.html", "README.md")
# A process that takes longer is counted as one that hangs.
MOST_SECONDS = 120.0


def options(description: str, name: str, usual: int, what: str) -> argparse.ArgumentParser:
    """Return a parser with the number of trials, `usual` by default, and the seed."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(f"--{name}", type=int, default=usual, help=f"{what} (default: {usual})")
    parser.add_argument("--seed", type=int, default=1, help="seed of the random choices (default: 1)")
    return parser


@contextmanager
def workplace(seed: int) -> Iterator[tuple[Path, Path]]:
    """Yield a folder and a file of 300 pairs in it; all is imported here, so that forked processes are quick."""
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    import calque.runs.session  # noqa: F401

    torch.set_num_threads(1)
    draw, words = random.Random(seed), ["one", "two", "three", "four", "five"]
    lines = sorted({" ".join(draw.choices(words, k=draw.randint(1, 6))) for _ in range(300)})
    with tempfile.TemporaryDirectory() as place:
        data = Path(place) / "pairs.tsv"
        data.write_text("".join(f"{line}\t{line.upper()}\n" for line in lines))
        yield Path(place), data


def train(data: Path, run: Path, changes: Sequence[str] = (), display: object = None) -> int:
    """Train, or continue, in the folder `run`; return the signal that ended it, or 0."""
    from calque.report.progress import SilentDisplay
    from calque.runs.request import Named, make_request
    from calque.runs.session import run_training
    from calque.tasks.table import DEFAULT_TASK

    request = make_request([str(data)], run, Named("gru", "tiny", DEFAULT_TASK, None), [*SETTINGS, *changes])
    outcome = run_training(request, False, SilentDisplay() if display is None else display)  # type: ignore[arg-type]
    return 0 if outcome is None else outcome.signal


def forked(work: Callable[[], int], output: Path | None = None) -> int:
    """Fork a process that does `work` and exits with what it returns; return its number.

    An error of calque exits with its own code and its message in the file `output`; another error exits with 1.
    """
    child = os.fork()
    if child:
        return child
    from calque.errors import CalqueError

    code, text = 1, ""
    try:
        code = work()
    except CalqueError as error:
        code, text = error.exit_code, str(error)
    except KeyboardInterrupt:
        code = 130
    except BaseException as error:
        text = f"{type(error).__name__}: {error}"
        print(text, file=sys.stderr)
    if output is not None:
        output.write_text(text)
    os._exit(code)


def wait(child: int, seconds: float = MOST_SECONDS) -> int | None:
    """Return the exit code of a process (negative: the signal that killed it); None after `seconds`, and kill it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.0005)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return None


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, or "missing"."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "missing"


def result(run: Path) -> dict[str, str]:
    """Return the SHA-256 of every file that does not depend on the time of day."""
    latest = run / "latest"
    last = run / "checkpoints" / (latest.read_text().strip() if latest.is_file() else "none")
    files = {name: run / name for name in ("model.safetensors", "recipe.json", "metrics.jsonl")}
    files |= {"last weights": last / "model.safetensors", "optimizer": last / "optimizer.safetensors"}
    return {name: digest(path) for name, path in files.items()}


def faults(run: Path, expected: dict[str, str]) -> list[str]:
    """Return the differences between a run that should be complete and the uninterrupted one."""
    found = result(run)
    problems = [f"{name} differs" for name, value in expected.items() if found[name] != value]
    problems += [f"{name} is missing" for name in COMPLETE if not (run / name).is_file()]
    problems += [f"temporary file {path.name} remains" for path in run.rglob("*tmp-*")]
    record = run / "run.json"
    if not record.is_file() or json.loads(record.read_text())["status"] != "finished":
        problems.append("the status is not finished")
    return problems


def reported(trials: Iterable[tuple[str, list[str]]], what: str, again: Callable[[int], str]) -> int:
    """Run trials of a name and its faults; stop at the first fault with the command that repeats it.

    Returns the exit code, 1 if there was a fault. `again` returns the options that repeat trial `number`, from 0.
    """
    begin, count = time.monotonic(), 0
    for name, problems in trials:
        count += 1
        if problems:
            print(f"BAD {name}: {'; '.join(problems)}")
            print(f"repeat it with: python benchmarks/faults/{Path(sys.argv[0]).name} {again(count - 1)}")
            return 1
    print(f"{count} {what}: no fault; {time.monotonic() - begin:.0f} s")
    return 0
