"""Read the training data once, for facts that defaults depend on, texts to learn a tokenizer from, and a sample.

Memory does not grow with the data.
"""

import hashlib
import heapq
from collections.abc import Iterator
from dataclasses import dataclass

from calque.data.files.readers import Dataset, Example, pairs
from calque.data.reservoir import Reservoir
from calque.data.split import is_held_out
from calque.errors import DataError
from calque.text.graph.graph import readable
from calque.text.identity import NFC, Identity
from calque.text.inputs import BETWEEN
from calque.text.scripts import count_characters, dominant_script

RESERVOIR_BYTES = 5_000_000
SAMPLE_LINES = 2_000
# More examples than any development or test set has, so a sample of this size is the whole set.
EVERYTHING = 10**9


@dataclass(frozen=True)
class SideFacts:
    """The facts about one side of the training pairs."""

    mean_characters: float
    """Mean number of characters in a text."""
    script: str
    """Script of most letters, such as "Latin"."""
    alphabet: int
    """Number of different characters."""
    sample: list[str]
    """Texts to learn a tokenizer from, in the order of the file."""


@dataclass(frozen=True)
class Survey:
    """The facts about a data set that defaults depend on."""

    num_pairs: int
    """Pairs to train on."""
    num_held_out: int
    """Pairs that the split sets aside."""
    num_blank: int
    """Pairs with an empty side."""
    source: SideFacts
    target: SideFacts
    held_out: list[Example]
    """A sample of the examples that the split sets aside, in the order of the file."""


def training_pairs(dataset: Dataset, split: bool, identity: Identity = NFC) -> Iterator[tuple[str, str]]:
    """Yield the pairs to train on: both sides have text, and with `split` the source is not held out."""
    for source, target in pairs(dataset.examples()):
        untagged = dataset.columns.untagged(source)
        if not (
            identity.is_blank(untagged) or identity.is_blank(target) or (split and is_held_out(untagged, identity))
        ):
            yield source, target


def survey(dataset: Dataset, split: bool, most_held_out: int, identity: Identity = NFC) -> Survey:
    """Read the whole data set once; with `split`, keep a sample of at most `most_held_out` held-out examples."""
    counts = {"pairs": 0, "held_out": 0, "blank": 0, "source": 0, "target": 0}
    sources, targets = Reservoir(0, RESERVOIR_BYTES), Reservoir(1, RESERVOIR_BYTES)
    held_out = Sample(most_held_out)
    for example in dataset.examples():
        usable = _usable_targets(dataset, example, identity)
        counts["blank"] += len(example.targets) - len(usable)
        if usable and split and is_held_out(dataset.columns.untagged(example.source), identity):
            counts["held_out"] += len(usable)
            held_out.add(Example(example.source, usable, example.line))
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


def development_sample(dataset: Dataset, most: int, identity: Identity = NFC) -> list[Example]:
    """Return at most `most` examples with text on both sides, always the same, in the order of the file."""
    sample = Sample(most)
    for example in dataset.examples():
        targets = _usable_targets(dataset, example, identity)
        if targets:
            sample.add(Example(example.source, targets, example.line))
    return sample.examples()


def _usable_targets(dataset: Dataset, example: Example, identity: Identity) -> tuple[str, ...]:
    """Return the targets with text of an example; none if its source is empty."""
    if identity.is_blank(dataset.columns.untagged(example.source)):
        return ()
    return tuple(target for target in example.targets if not identity.is_blank(target))


class Sample:
    """The examples whose sources have the smallest hashes: a sample that does not depend on the order of lines."""

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


def refuse_too_few(name: str, num_pairs: int, num_dev: int, split: bool) -> None:
    """Raise DataError if no pair is left to train on, or, with `split`, to validate on."""
    if not num_pairs:
        raise DataError(
            "no pair is left to train on: every source is held out or empty; give a file with --valid FILE",
            name,
        )
    if split and not num_dev:
        raise DataError("too few pairs to hold a tenth out for validation; give a file with --valid FILE", name)


def _side(lines: list[str], mean_characters: float) -> SideFacts:
    # The text of a graph's nodes and edges counts, not its JSON punctuation.
    read = [" ".join(map(readable, line.split(BETWEEN))) for line in lines]
    return SideFacts(mean_characters, dominant_script(read[:SAMPLE_LINES]), len(count_characters(read)), lines)
