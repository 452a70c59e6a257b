"""Count the properties of a data set in one pass, with at most 24 bytes of memory per pair.

A pair is kept as a key of 8 bytes, 40 bits of a hash of the source and 24 of the target, in one sorted array.
"""

import hashlib
import re
from array import array
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from calque.data.files.columns import Columns
from calque.data.files.formats import Example
from calque.data.files.readers import Dataset
from calque.data.split import is_held_out
from calque.errors import DataError
from calque.text.graph.graph import readable
from calque.text.identity import NFC, invisible_characters, is_blank
from calque.text.scripts import script_of

FIRST = 10
_TARGET_BITS = np.uint64(24)
_SPECIAL = re.compile(r"</?s>|<(?:pad|unk|bos|eos|mask|sep)>|\[(?:PAD|UNK|CLS|SEP|MASK|BOS|EOS)\]|<\|[a-z_]+\|>")
# Controls, line separators, the replacement character, and letters and symbols that draw nothing.
_ODD = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufffd\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0]"
)
_SPACES = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
# The space between words of these scripts.
_WIDE_SPACE, _WIDE_SCRIPTS = "\u3000", ("Han", "Japanese")

Keys = NDArray[np.uint64]


@dataclass
class Found:
    """A number of lines, and the numbers of the first ten."""

    count: int = 0
    first: list[int] = field(default_factory=list)

    def add(self, line: int) -> None:
        """Count one more line."""
        self.count += 1
        if len(self.first) < FIRST:
            self.first.append(line)


@dataclass
class Tally:
    """The counts of one pass; `keys`, `ratios` and `lines` have an entry for each usable pair.

    A graph counts as the text of its nodes and edges.
    """

    columns: Columns = field(default_factory=Columns)
    pairs: int = 0
    held_out: int = 0
    """Usable pairs that training would hold out for validation."""
    graphs: int = 0
    bad: Found = field(default_factory=Found)
    bad_errors: list[DataError] = field(default_factory=list)
    blank_source: Found = field(default_factory=Found)
    blank_target: Found = field(default_factory=Found)
    blank_both: Found = field(default_factory=Found)
    equal_sides: Found = field(default_factory=Found)
    special: Found = field(default_factory=Found)
    odd: Found = field(default_factory=Found)
    odd_characters: Counter[str] = field(default_factory=Counter)
    spaces: Found = field(default_factory=Found)
    space_characters: Counter[str] = field(default_factory=Counter)
    source_lengths: Counter[int] = field(default_factory=Counter)
    target_lengths: Counter[int] = field(default_factory=Counter)
    scripts: dict[tuple[str, str], Found] = field(default_factory=dict)
    keys: "array[int]" = field(default_factory=lambda: array("Q"))
    ratios: "array[float]" = field(default_factory=lambda: array("f"))
    lines: "array[int]" = field(default_factory=lambda: array("I"))

    def add_bad(self, error: DataError) -> None:
        """Count a bad line."""
        self.bad.add(error.line or 0)
        if len(self.bad_errors) < FIRST:
            self.bad_errors.append(error)

    def add(self, example: Example) -> None:
        """Count the pairs of one example."""
        shown, untagged = readable(example.source), self.columns.untagged(example.source)
        blank_source, is_held = is_blank(untagged), is_held_out(untagged)
        for target in example.targets:
            self.pairs += 1
            self._add_odd(shown, target, example.line)
            blank = blank_source, is_blank(target)
            if any(blank):
                kinds = {(True, True): self.blank_both, (True, False): self.blank_source}
                kinds.get(blank, self.blank_target).add(example.line)
            else:
                self.keys.append(pair_key(example.source, target))
                self.graphs += shown != example.source
                self.held_out += is_held
                self._add_usable(shown, target, example.line)

    def _add_usable(self, source: str, target: str, line: int) -> None:
        self.ratios.append((len(source) + 1) / (len(target) + 1))
        self.lines.append(line)
        self.source_lengths[len(source)] += 1
        self.target_lengths[len(target)] += 1
        scripts = script_of(source), script_of(target)
        self.scripts.setdefault(scripts, Found()).add(line)
        if NFC.of(source) == NFC.of(target):
            self.equal_sides.add(line)
        if _SPECIAL.search(source) or _SPECIAL.search(target):
            self.special.add(line)
        spaces = _spaces(source, scripts[0]) + _spaces(target, scripts[1])
        if spaces:
            self.spaces.add(line)
            self.space_characters.update(map(_code, spaces))

    def _add_odd(self, source: str, target: str, line: int) -> None:
        odd = [character for text in (source, target) for character in _odd(text)]
        if odd:
            self.odd.add(line)
            self.odd_characters.update(map(_code, odd))


def _odd(text: str) -> list[str]:
    return [*_ODD.findall(text), *invisible_characters(text)]


def _spaces(text: str, script: str) -> list[str]:
    """Return the spaces of a text that are neither plain spaces nor those of its script."""
    if text.isascii():
        return []
    return [space for space in _SPACES.findall(text) if space != _WIDE_SPACE or script not in _WIDE_SCRIPTS]


def _code(character: str) -> str:
    return f"U+{ord(character):04X}"


def tally(dataset: Dataset) -> Tally:
    """Return the counts of one pass over `dataset`."""
    result = Tally(columns=dataset.columns)
    for example in dataset.examples(result.add_bad):
        result.add(example)
    return result


def text_hash(text: str) -> int:
    """Return 64 bits of a hash of `text`, the same on every machine."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest(), "big")


def pair_key(source: str, target: str) -> int:
    """Return 40 bits of the hash of the source's identity, followed by 24 of the target's."""
    bits = int(_TARGET_BITS)
    source, target = NFC.of(source), NFC.of(target)
    return text_hash(source) >> bits << bits | text_hash(target) >> (64 - bits)


def sorted_keys(counted: Tally) -> Keys:
    """Sort the keys of `counted` in place and return them; their order by line is lost."""
    keys: Keys = np.frombuffer(counted.keys, dtype=np.uint64)
    keys.sort()
    return keys


def duplicates(keys: Keys) -> tuple[int, int]:
    """Return how many pairs repeat an earlier one, and how many sources have more than one target; keys are sorted."""
    same_pair = keys[1:] == keys[:-1]
    sources = keys[np.concatenate([[True], ~same_pair])] >> _TARGET_BITS
    same_source = sources[1:] == sources[:-1]
    # A source with three targets makes a run of two, so the starts of runs are counted.
    starts = same_source & ~np.concatenate([[False], same_source[:-1]])
    return int(same_pair.sum()), int(starts.sum())


def shared(keys: Keys, others: Keys) -> tuple[int, int]:
    """Return how many of the `others` share their source with one of `keys`, and how many are a pair of `keys`.

    Both arrays are sorted.
    """
    pairs = int(_among(others, keys).sum())
    return int(_among(others >> _TARGET_BITS, keys >> _TARGET_BITS).sum()), pairs


def _among(values: Keys, known: Keys) -> NDArray[np.bool_]:
    index = np.minimum(np.searchsorted(known, values), len(known) - 1)
    found: NDArray[np.bool_] = known[index] == values
    return found


def ratio_outliers(counted: Tally) -> Found:
    """Return the pairs whose ratio of lengths is more than four deviations and a factor of three from the median."""
    logarithms = np.log(np.frombuffer(counted.ratios, dtype=np.float32))
    distance = np.abs(logarithms - np.median(logarithms))
    limit = max(4 * 1.4826 * float(np.median(distance)), float(np.log(3)))
    where = np.flatnonzero(distance > limit)
    return Found(len(where), [counted.lines[index] for index in where[:FIRST].tolist()])


def quantile(lengths: Counter[int], share: float) -> int:
    """Return the smallest length that at least `share` of the texts do not exceed."""
    needed, reached = share * lengths.total(), 0
    for length in sorted(lengths):
        reached += lengths[length]
        if reached >= needed:
            return length
    return 0
