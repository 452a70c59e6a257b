"""One pass over the training data: the facts that defaults depend on, texts to learn a tokenizer from, a sample to
validate on. Memory does not grow with the data.
"""

import hashlib
import heapq
from collections.abc import Iterator
from dataclasses import dataclass

from calque.data.files.readers import Dataset, Example, is_blank, pairs
from calque.data.reservoir import Reservoir
from calque.data.split import is_held_out
from calque.text.graph.graph import readable
from calque.text.inputs import BETWEEN
from calque.text.scripts import count_characters, dominant_script

RESERVOIR_BYTES = 5_000_000
SAMPLE_LINES = 2_000
# More examples than any development or test set has: a sample of so many is the whole set.
EVERYTHING = 10**9


@dataclass(frozen=True)
class Side:
    """Hold what is known of one side: mean characters a line, script, number of different characters, a sample."""

    mean_characters: float
    script: str
    alphabet: int
    sample: list[str]


@dataclass(frozen=True)
class Survey:
    """Hold the facts of a data set: pairs to train on, pairs set aside by the split, pairs with a blank side."""

    num_pairs: int
    num_held_out: int
    num_blank: int
    source: Side
    target: Side
    held_out: list[Example]


def training_pairs(dataset: Dataset, split: bool) -> Iterator[tuple[str, str]]:
    """Yield the pairs to train on: both sides have text, and with `split` the source is not held out."""
    for source, target in pairs(dataset.examples()):
        if not (is_blank(source) or is_blank(target) or (split and is_held_out(dataset.columns.untagged(source)))):
            yield source, target


def survey(dataset: Dataset, split: bool, most_held_out: int) -> Survey:
    """Read the whole data set once; with `split`, keep a sample of at most `most_held_out` held-out examples."""
    counts = {"pairs": 0, "held_out": 0, "blank": 0, "source": 0, "target": 0}
    sources, targets = Reservoir(0, RESERVOIR_BYTES), Reservoir(1, RESERVOIR_BYTES)
    held_out = Sample(most_held_out)
    for example in dataset.examples():
        usable = [] if is_blank(example.source) else [target for target in example.targets if not is_blank(target)]
        counts["blank"] += len(example.targets) - len(usable)
        if usable and split and is_held_out(dataset.columns.untagged(example.source)):
            counts["held_out"] += len(usable)
            held_out.add(Example(example.source, tuple(usable), example.line))
            continue
        for target in usable:
            counts["pairs"] += 1
            counts["source"] += len(example.source)
            counts["target"] += len(target)
            sources.add(example.source)
            targets.add(target)
    number = max(1, counts["pairs"])
    return Survey(
        counts["pairs"],
        counts["held_out"],
        counts["blank"],
        _side(sources.lines(), counts["source"] / number),
        _side(targets.lines(), counts["target"] / number),
        held_out.examples(),
    )


def development_sample(dataset: Dataset, most: int) -> list[Example]:
    """Return at most `most` examples with text on both sides, always the same, in the order of the file."""
    sample = Sample(most)
    for example in dataset.examples():
        targets = tuple(target for target in example.targets if not is_blank(target))
        if targets and not is_blank(example.source):
            sample.add(Example(example.source, targets, example.line))
    return sample.examples()


class Sample:
    """Keep the examples whose sources have the smallest hashes: a sample that other lines cannot shift."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._heap: list[tuple[int, int, Example]] = []

    def add(self, example: Example) -> None:
        """Consider one example."""
        key = int.from_bytes(hashlib.sha256(b"sample\0" + example.source.encode()).digest()[:8], "big")
        if len(self._heap) < self.most:
            heapq.heappush(self._heap, (-key, -example.line, example))
        elif key < -self._heap[0][0]:
            heapq.heapreplace(self._heap, (-key, -example.line, example))

    def examples(self) -> list[Example]:
        """Return the sample in the order of the file."""
        return sorted((example for _, _, example in self._heap), key=lambda example: example.line)


def _side(lines: list[str], mean_characters: float) -> Side:
    # Of a graph what its nodes and edges say counts, not the signs of JSON.
    read = [" ".join(map(readable, line.split(BETWEEN))) for line in lines]
    return Side(mean_characters, dominant_script(read[:SAMPLE_LINES]), len(count_characters(read)), lines)
