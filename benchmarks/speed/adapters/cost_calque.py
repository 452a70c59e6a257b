"""Time calque's decoding against length, batch, beam and vocabulary: medians of a few repetitions each."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import torch
from common import read_job, say

from calque import api
from calque.recipe.stored import search_options

LENGTHS = (5, 10, 20, 40, 80)
BATCHES = (1, 4, 16, 64, 128)
BEAMS = (1, 2, 5, 10)
REPEATS = 3
WORDS, LINES = 10, 64


def seconds(work: Callable[[], object]) -> float:
    """Return the median seconds of some work after a warm-up."""
    work()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return median(times)


def lines_of(words: Sequence[str], length: int, count: int) -> list[str]:
    """Return lines of so many words each, of running text."""
    return [" ".join(words[number * length : (number + 1) * length]) for number in range(count)]


def main() -> None:
    """Tell milliseconds a sentence against each amount."""
    job = read_job()
    torch.set_num_threads(job["threads"])
    words = [word for line in Path(job["test"]).read_text("utf-8").splitlines() for word in line.split("\t")[0].split()]

    def tell(against: str, amount: int, folder: str, beam: int, lines: list[str], batch: int) -> None:
        predictor = api.load(folder, search_options(folder, beam=beam))
        value = seconds(lambda: predictor.best(lines, batch)) / len(lines) * 1e3
        say(against=against, amount=amount, value=value, unit="ms a sentence")

    usual = lines_of(words, WORDS, LINES)
    for length in LENGTHS:
        tell("source words", length, job["model"], 5, lines_of(words, length, 32), 32)
    for batch in BATCHES:
        tell("sentences in a batch", batch, job["model"], 5, usual[: max(8, batch)], batch)
    for beam in BEAMS:
        tell("beam", beam, job["model"], beam, usual, 64)
    for size, folder in job["vocabularies"].items():
        tell("pieces in the vocabulary", int(size), folder, 5, usual[:16], 16)


if __name__ == "__main__":
    main()
