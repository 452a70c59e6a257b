"""A tiny language pair for tests: numbers read out in English, and in Chinese from the last to the first.

Also the settings of models that learn it in seconds, and ways to call the command line in this process and in another.
"""

import os
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

DIGITS = {
    "zero": "零",
    "one": "一",
    "two": "二",
    "three": "三",
    "four": "四",
    "five": "五",
    "six": "六",
    "seven": "七",
    "eight": "八",
    "nine": "九",
}
MAIN = "from calque.cli.main import main; main()"

# A recurrent model of 16,000 weights over words and characters.
TINY = (
    "train.precision=fp32",
    "train.device=cpu",
    "model.encoder.width=32",
    "model.decoder.width=32",
    "model.encoder.dropout=0.0",
    "model.decoder.dropout=0.0",
    "text.source.kind=word",
    "text.target.kind=character",
    "train.batch_tokens=256",
    "train.lr=0.01",
    "train.warmup=10",
    "train.label_smoothing=0.0",
    "train.patience=100",
)
# Enough to learn the toy language nearly whole.
LEARNING = (*TINY, "train.max_epochs=14", "train.validate_every=60", "train.save_every=60")
# Enough to leave a model folder behind.
BRIEF = (
    *TINY,
    "train.max_updates=4",
    "train.validate_every=2",
    "train.save_every=2",
    "train.validation_sentences=8",
    "search.beam=2",
)


@dataclass(frozen=True)
class Finished:
    """Hold how a command ended and what it wrote."""

    code: int
    out: str
    err: str


def reading(words: Sequence[str]) -> str:
    """Return the right answer to words."""
    return "".join(DIGITS[word] for word in reversed(words))


def pairs(count: int, seed: int = 1, longest: int = 4) -> list[tuple[str, str]]:
    """Return `count` pairs, some of them more than once."""
    draw = random.Random(seed)
    chosen = [[draw.choice(list(DIGITS)) for _ in range(draw.randint(1, longest))] for _ in range(count)]
    return [(" ".join(words), reading(words)) for words in chosen]


def write_pairs(path: Path, count: int = 200, seed: int = 1) -> Path:
    """Write pairs as TSV."""
    path.write_text("".join(f"{source}\t{target}\n" for source, target in pairs(count, seed)), encoding="utf-8")
    return path


def settings(values: Sequence[str]) -> list[str]:
    """Return settings as options of the command line."""
    return [part for value in values for part in ("--set", value)]


def train_command(data: Path | str, out: Path, values: Sequence[str] = BRIEF) -> list[str]:
    """Return the arguments that train a GRU on one thread."""
    named = ["--model", "gru", "--size", "tiny", "--threads", "1", "--seed", "3"]
    return ["train", str(data), "--out", str(out), *named, *settings(values)]


def start(*arguments: str, cwd: Path | None = None) -> subprocess.Popen[bytes]:
    """Start the command line as a process with pipes on all three streams."""
    command = [sys.executable, "-c", MAIN, *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, cwd=cwd, env=dict(os.environ))


def finish(process: subprocess.Popen[bytes], stdin: bytes | None = None, seconds: float = 240) -> Finished:
    """Wait for a process and return what it wrote."""
    try:
        out, err = process.communicate(stdin, timeout=seconds)
    finally:
        process.kill()
    return Finished(process.returncode, out.decode(), err.decode())
