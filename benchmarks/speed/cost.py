"""Cost against work: decoding against length, batch, beam and vocabulary; training against the size of the data.

Also whether the memory of decoding stays flat over many lines.
"""

import json
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from benchmarks.speed import measure, training
from benchmarks.speed.data import COMMAND, PARTS, flags, raw_folder
from benchmarks.speed.machine import Journal, Record

ADAPTERS = Path(__file__).parent / "adapters"
VOCABULARIES = (1000, 2000, 4000, 8000)
PAIRS = (10_000, 100_000, 1_000_000)
WARMUP, UPDATES = 3, 15


def decoding(model: Path, work: Path, journal: Journal, threads: int) -> None:
    """Time one trained model against length, batch and beam, and untrained ones against the vocabulary."""
    models = {str(size): str(_untrained(size, work)) for size in VOCABULARIES}
    test = str(raw_folder() / PARTS["test"])
    job = work / "cost.json"
    job.write_text(json.dumps({"model": str(model), "vocabularies": models, "test": test, "threads": threads}))
    command = [sys.executable, str(ADAPTERS / "cost_calque.py"), str(job)]
    watched = measure.watch(measure.Child(command, measure.environment(threads), work / "logs" / "cost.log"))
    for _, message in watched.events:
        _note(journal, message)


def data_sizes(work: Path, journal: Journal, threads: int, pairs: tuple[int, ...] = PAIRS) -> None:
    """Train the same model on files of more and more pairs; tell the target tokens a second of each."""
    for count in pairs:
        path = work / f"pairs-{count}.tsv"
        with path.open("w", encoding="utf-8") as file:
            file.writelines(varied(count))
        folder = work / f"cost-{count}"
        folder.mkdir(exist_ok=True)
        job = {"architecture": "transformer", "precision": "fp32", "batch": 4096, "threads": threads, "workers": 1}
        job |= {"updates": WARMUP + UPDATES, "seed": 1, "work": str(folder), "train": str(path)}
        (folder / "job.json").write_text(json.dumps(job | {"raw": str(raw_folder())}), encoding="utf-8")
        command = [sys.executable, str(ADAPTERS / "train_calque.py"), str(folder / "job.json")]
        child = measure.Child(command, measure.environment(threads), work / "logs" / f"cost-{count}.log")
        watched = measure.watch(child, lambda message: message.get("update", 0) >= WARMUP + UPDATES)
        found = training.rate(watched.events, WARMUP)
        path.unlink()
        shutil.rmtree(folder)
        about = {"against": "pairs of training data", "amount": count}
        _note(journal, {**about, "value": found["rate"], "unit": "target tokens/s"})
        _note(journal, {**about, "value": found["first"], "unit": "s before the first update ends"})
        _note(journal, {**about, "value": watched.peak_bytes / 1e6, "unit": "MB at most"})


def many_lines(model: Path, work: Path, journal: Journal, threads: int, lines: int) -> None:
    """Decode a long file with `calque generate` and tell its memory after each tenth of the time."""
    source = work / "many.txt"
    with source.open("w", encoding="utf-8") as file:
        file.writelines(" ".join(line.split("\t")[0].split()[:8]) + "\n" for line in varied(lines))
    out = ["--input", str(source), "--output", str(work / "many.out"), "--beam", "1", "--threads", str(threads)]
    command = [*COMMAND, "generate", str(model), *out, "--quiet"]
    sizes: list[int] = []
    with subprocess.Popen(command, env=measure.environment(threads)) as process:
        ended = threading.Event()
        while process.poll() is None:
            sizes.append(measure.tree_bytes(process.pid))
            ended.wait(0.5)
    if process.returncode:
        raise measure.ChildError(f"calque generate ended with {process.returncode}")
    for tenth in range(1, 11):
        part = sizes[len(sizes) * (tenth - 1) // 10 : max(1, len(sizes) * tenth // 10)]
        size = max(part, default=0) / 1e6
        _note(journal, {"against": "lines decoded", "amount": lines * tenth // 10, "value": size, "unit": "MB at most"})


def varied(count: int) -> Iterator[str]:
    """Yield pairs: those of Multi30k again and again, each time with words exchanged for others of the file."""
    pairs = [line.split("\t")[:2] for line in (raw_folder() / PARTS["train"]).read_text("utf-8").splitlines()]
    draw = random.Random(1)
    for number in range(count):
        sides = [side.split() for side in pairs[number % len(pairs)]]
        if number >= len(pairs):
            others = [side.split() for side in draw.choice(pairs)]
            for words, other in zip(sides, others, strict=True):
                words[draw.randrange(len(words))] = draw.choice(other)
        yield "\t".join(" ".join(words) for words in sides) + "\n"


def _untrained(size: int, work: Path) -> Path:
    """Return a model with so many pieces after one update: it answers at full length, so all do equal work."""
    folder = work / f"vocabulary-{size}"
    if not (folder / "model.safetensors").is_file():
        settings = {"text.vocab_size": size, "train.max_updates": 1, "train.validation_sentences": 1}
        pairs = [str(raw_folder() / PARTS[part]) for part in ("train", "val")]
        named = ["--model", "transformer", "--size", "small", "--languages", "en-de", "--quiet", "--fresh"]
        command = [*COMMAND, "train", pairs[0], "--valid", pairs[1], "--out", str(folder), *named, *flags(settings)]
        subprocess.run(command, check=True)
    return folder


def _note(journal: Journal, message: Record) -> None:
    journal.write({"kind": "cost", **message})
    print(f"{message['against']} {message['amount']:,}: {message['value']:,.4g} {message['unit']}", flush=True)
