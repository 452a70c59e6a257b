"""Train with the command `calque train`, and follow the journal of updates that it writes."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from common import Job, read_job, say, say_versions

COMMAND = [sys.executable, "-c", "from calque.cli.main import main; main()"]
# All that the other systems are told as well; the rest is what calque does by itself.
SETTINGS = {
    "text.vocab_size": 8000,
    "model.encoder.dropout": 0.3,
    "model.decoder.dropout": 0.3,
    "train.label_smoothing": 0.1,
    "train.lr": 0.0005,
    "train.warmup": 400,
    "train.validation_sentences": 1,
}
AFTER = 1_000_000


def command(job: Job, folder: Path) -> list[str]:
    """Return the command line of a training that nothing interrupts before the updates are over."""
    raw = Path(job["raw"])
    settings = SETTINGS | {"train.batch_tokens": job["batch"], "train.precision": job["precision"]}
    settings |= {"train.validate_every": AFTER, "train.save_every": AFTER}
    named = ["--model", job["architecture"], "--size", "small", "--languages", "en-de", "--quiet"]
    places = [job.get("train", str(raw / "train.tsv")), "--valid", str(raw / "val.tsv"), "--out", str(folder)]
    numbers = ["--threads", str(job["threads"]), "--seed", str(job["seed"])]
    sets = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    return [*COMMAND, "train", *places, *named, *numbers, *sets]


def follow(path: Path, process: subprocess.Popen[bytes]) -> Iterator[dict[str, object]]:
    """Yield the rows of a journal as they are written, until the process ends."""
    while not path.exists() and process.poll() is None:
        time.sleep(0.01)
    if not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        part = ""
        while True:
            running = process.poll() is None
            part += file.readline()
            if part.endswith("\n"):
                yield json.loads(part)
                part = ""
            elif not running:
                return
            else:
                time.sleep(0.005)


def main() -> None:
    """Train and tell each update."""
    job = read_job()
    say_versions("torch")
    say(counts="real target tokens, </s> included")
    folder = Path(job["work"]) / "run"
    with subprocess.Popen(command(job, folder), stdout=sys.stderr) as process:
        for row in follow(folder / "metrics.jsonl", process):
            if row["kind"] == "train":
                say(update=row["step"], tokens=row["tokens"])
    raise SystemExit(process.returncode)


if __name__ == "__main__":
    main()
