"""Parts of a test set on which two systems are compared: by length, numbers, copies, rare words and questions."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Chosen = NDArray[np.bool_]

LENGTHS = ((0, 10), (11, 20), (21, 40), (41, None))
RARE = 5
MOST_QUESTIONS = 6
# A word of a reference that is also in the source; shorter ones are often equal by chance.
COPIED_LETTERS = 4
_NUMBER = re.compile(r"\d")


@dataclass(frozen=True)
class Slice:
    """A part of the lines: its name, and which lines belong to it, [N]."""

    name: str
    chosen: Chosen


def slices(
    sources: Sequence[str], references: Sequence[Sequence[str]], counts: Counter[str] | None = None
) -> Iterator[Slice]:
    """Yield the slices that contain some lines, but not all.

    `counts` are the words of the training sources; without them there are no slices of rare and unseen words.
    """
    for found in _all(sources, references, counts):
        if 0 < found.chosen.sum() < len(sources):
            yield found


def word_counts(sources: Iterable[str]) -> Counter[str]:
    """Count the words of training sources."""
    return Counter(word for source in sources for word in _words(source))


def _all(sources: Sequence[str], references: Sequence[Sequence[str]], counts: Counter[str] | None) -> Iterator[Slice]:
    words = [_words(source) for source in sources]
    lengths = np.array([len(source.split()) for source in sources])
    for low, high in LENGTHS:
        name = f"{low} words or more" if high is None else f"{low} to {high} words" if low else f"up to {high} words"
        yield Slice(name, (lengths >= low) & (lengths <= (high or lengths.max())))
    yield Slice("numbers in the source", np.array([bool(_NUMBER.search(source)) for source in sources]))
    yield Slice("words copied from the source", np.array(list(map(_has_copies, words, references))))
    if counts is not None:
        unseen = np.array([any(word not in counts for word in own) for own in words])
        rare = np.array([any(counts[word] < RARE for word in own) for own in words])
        yield Slice("unseen words", unseen)
        yield Slice(f"rare words (seen less than {RARE} times)", rare & ~unseen)
    yield from _questions(sources)


def _questions(sources: Sequence[str]) -> Iterator[Slice]:
    """Yield a slice for each of the most frequent first words of questions, if most sources ask one."""
    asked = [_first_word(source) for source in sources]
    if 2 * sum(map(bool, asked)) < len(sources):
        return
    for word, _ in Counter(filter(None, asked)).most_common(MOST_QUESTIONS):
        yield Slice(f"questions with {word}", np.array([own == word for own in asked]))


def _first_word(source: str) -> str:
    question = source.partition("\t")[0].strip()
    return next(iter(_words(question)), "") if question.endswith("?") else ""


def _has_copies(words: Sequence[str], references: Sequence[str]) -> bool:
    known = {word for word in words if len(word) >= COPIED_LETTERS}
    return any(word in known for reference in references for word in _words(reference))


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())
