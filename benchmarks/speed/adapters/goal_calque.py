"""Train with `calque train` until a validation passes, then answer the test set with `calque generate`."""

import signal
import subprocess
import sys
from pathlib import Path

from common import read_job, say
from train_calque import COMMAND, follow

PARTS = ("encoder", "decoder")


def main() -> None:
    """Train, tell each validation, translate."""
    job = read_job()
    raw, folder = Path(job["raw"]), Path(job["work"]) / "run"
    settings = {"train.max_epochs": job["epochs"], "train.lr": job["lr"], "train.batch_tokens": job["batch"]}
    settings |= {f"model.{part}.dropout": job["dropout"] for part in PARTS}
    settings |= {f"model.{part}.layers": count for part, count in zip(PARTS, job["layers"], strict=True)}
    settings |= {"train.validate_every": job["every"], "train.save_every": job["every"]}
    settings |= {"train.validation_sentences": 10**6, "text.vocab_size": job["pieces"]}
    settings |= {"train.precision": job["precision"]}
    sets = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    sets += [part for setting in job["sets"] for part in ("--set", setting)]
    places = [str(raw / "train.tsv"), "--valid", str(raw / "val.tsv"), "--out", str(folder)]
    named = ["--model", "transformer", "--size", job["size"], "--languages", "en-de", "--quiet"]
    named += ["--threads", str(job["threads"]), "--seed", str(job["seed"])]
    with subprocess.Popen([*COMMAND, "train", *places, *named, *sets], stdout=sys.stderr) as process:
        for row in follow(folder / "metrics.jsonl", process):
            if row["kind"] != "valid":
                continue
            dev = max(row["scores"].values())
            say(update=row["step"], dev=row["scores"].get("bleu", dev))
            # The weights of a best validation are on disk before its line is.
            if row["scores"].get("bleu", dev) >= job["target"]:
                process.send_signal(signal.SIGTERM)
                break
    lines = ["--input", job["test_en"], "--output", job["answers"], "--beam", "5", "--quiet"]
    subprocess.run([*COMMAND, "generate", str(folder), *lines], check=True)


if __name__ == "__main__":
    main()
