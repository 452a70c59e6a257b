"""Kill a training at random moments, completion included: the same command must end with the same bytes.

    python benchmarks/faults/kills.py --kills 500

trains a tiny model without interruption, then again and again with SIGKILL at a random moment of each start, until all
kills are spent; every other kill comes while a file is being written. Each start is a forked process of one thread.
"""

import argparse
import hashlib
import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path

SETTINGS = (
    "train.precision=fp32", "train.device=cpu", "train.threads=1", "train.batch_tokens=256", "train.max_updates=12",
    "train.validate_every=3", "train.save_every=2", "train.validation_sentences=8", "model.encoder.width=32",
    "model.decoder.width=32", "text.source.kind=character", "text.target.kind=character", "search.beam=2",
)  # fmt: skip
COMPLETE = ("model.safetensors", "recipe.json", "metrics.jsonl", "manifest.json", "report.html", "README.md")


def start(data: Path, run: Path) -> int:
    """Fork a process that trains, or continues, in the folder `run`; return its number."""
    child = os.fork()
    if child:
        return child
    try:
        from calque.report.progress import SilentDisplay
        from calque.runs.request import Named, make_request
        from calque.runs.session import run_training
        from calque.tasks.table import DEFAULT_TASK

        named = Named("gru", "tiny", DEFAULT_TASK, None)
        run_training(make_request([str(data)], run, named, list(SETTINGS)), False, SilentDisplay())
        os._exit(0)
    except BaseException as error:
        print(f"{run.name}: {type(error).__name__}: {error}", file=sys.stderr)
        os._exit(1)


def kill_at(child: int, moment: float, run: Path, in_write: bool) -> bool:
    """Kill a process after `moment` seconds, or in the next write after it; return False where it had ended."""
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


def result(run: Path) -> dict[str, str]:
    """Return the SHA-256 of all that does not depend on the time of day."""
    last = run / "checkpoints" / (run / "latest").read_text().strip()
    files = [run / "model.safetensors", run / "recipe.json", run / "metrics.jsonl"]
    files += [last / "model.safetensors", last / "optimizer.safetensors"]
    return {f"{path.parent.name}/{path.name}".replace(run.name, ""): digest(path) for path in files}


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def faults(run: Path, expected: dict[str, str]) -> list[str]:
    """Return what a run that was killed has in another form than the uninterrupted one."""
    found = {name.split("/")[-1]: value for name, value in result(run).items()}
    wanted = {name.split("/")[-1]: value for name, value in expected.items()}
    problems = [name for name, value in wanted.items() if found.get(name) != value]
    problems += [f"{name} is missing" for name in COMPLETE if not (run / name).is_file()]
    problems += [f"stray {path.name}" for path in run.rglob("*tmp-*")]
    if json.loads((run / "run.json").read_text())["status"] != "finished":
        problems.append("the status is not finished")
    return problems


def main() -> int:
    """Print the number of kills, runs and faults; exit 1 where there is a fault."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=500, help="number of kills")
    parser.add_argument("--seed", type=int, default=1, help="seed of the moments")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)
    draw = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        data = folder / "pairs.tsv"
        words = ["one", "two", "three", "four", "five"]
        lines = {" ".join(draw.choices(words, k=draw.randint(1, 6))) for _ in range(300)}
        data.write_text("".join(f"{line}\t{line.upper()}\n" for line in sorted(lines)))
        begin = time.monotonic()
        assert not kill_at(start(data, folder / "whole"), 1e9, folder / "whole", False)
        whole = time.monotonic() - begin
        expected = result(folder / "whole")
        kills, runs, bad = 0, 0, 0
        while kills < options.kills:
            runs += 1
            run = folder / f"run-{runs}"
            while kills < options.kills:
                in_write = kills % 2 == 1
                if not kill_at(start(data, run), draw.uniform(0, whole), run, in_write):
                    break
                kills += 1
            else:
                kill_at(start(data, run), 1e9, run, False)
            problems = faults(run, expected)
            bad += bool(problems)
            for problem in problems:
                print(f"BAD {run.name}: {problem}")
    print(f"{kills} kills in {runs} runs: {bad} with a fault; an uninterrupted run takes {whole:.2f} s")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
