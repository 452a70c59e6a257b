"""ROUGE: how much of the words, word pairs or word order of a reference summary an output has (Lin 2004).

Each value is the mean over the lines of the F1 with the best reference, as summaries are reported.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

import numpy as np
from rapidfuzz.distance import LCSseq

from calque.metrics.score import LineStatistics, Metric, mean_of_lines, reference_count

Split: TypeAlias = Callable[[str], list[str]]
Words: TypeAlias = Sequence[str]

SPLITS = ("english", "words", "characters")
_ENGLISH = re.compile(r"[a-z0-9]+")
_WORDS = re.compile(r"[^\W_]+")
# Thai, Lao, Myanmar, Khmer, kana, Han: written without spaces, so that a letter is counted where others have a word.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_CHARACTERS = re.compile(rf"[{_UNSPACED}]|(?:(?![{_UNSPACED}_])\w)+")
# A text is one line here, so that sentences are found by their ends.
_SENTENCE_END = re.compile(r"(?<=[.!?…])\s+|(?<=[。！？])\s*|\n+")


def rouge_n(order: int, split: str) -> Metric:
    """Return ROUGE-1, ROUGE-2 and so on: the share of common runs of `order` words; `split` is one of SPLITS."""
    return _metric(f"rouge{order}", split, partial(_common_ngrams, order))


def rouge_l(split: str) -> Metric:
    """Return ROUGE-L: the longest common subsequence of words, of output and reference as a whole."""
    return _metric("rougeL", split, _common_subsequence)


def rouge_lsum(split: str) -> Metric:
    """Return ROUGE-Lsum: for each reference sentence the union of its common subsequences with all output sentences."""
    cut = _split(split)
    return Metric("rougeLsum", True, partial(_measure, split, _in_sentences(cut), _union_subsequences), mean_of_lines)


def words_of(text: str, split: str) -> list[str]:
    """Return the lower-cased words of a text.

    `english` knows the letters a to z and digits only, as the scores of English summaries are published; `words` knows
    the letters of all scripts; with `characters` each letter of a script without spaces is a word.
    """
    return _split(split)(text)


def _metric(name: str, split: str, common: Callable[[Words, Words], tuple[int, int, int]]) -> Metric:
    return Metric(name, True, partial(_measure, split, _split(split), common), mean_of_lines)


def _split(name: str) -> Split:
    assert name in SPLITS
    return {"english": _english, "words": _words, "characters": _characters}[name]


def _english(text: str) -> list[str]:
    return _ENGLISH.findall(text.lower())


def _words(text: str) -> list[str]:
    return _WORDS.findall(text.lower())


def _characters(text: str) -> list[str]:
    return _CHARACTERS.findall(text.lower())


def _in_sentences(split: Split) -> Callable[[str], list[list[str]]]:
    def sentences(text: str) -> list[list[str]]:
        return [split(sentence) for sentence in _SENTENCE_END.split(text) if sentence]

    return sentences


def _measure(
    split: str,
    cut: Callable[[str], Sequence[object]],
    common: Callable[..., tuple[int, int, int]],
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
) -> LineStatistics:
    """Return the best F1 of each line in percent, and 1; `common` returns hits, size of output and of reference."""
    best = []
    for hypothesis, answers in zip(hypotheses, references, strict=True):
        output = cut(hypothesis)
        best.append(max(f1(*common(output, cut(answer))) for answer in answers))
    values = np.stack([100.0 * np.array(best), np.ones(len(best))], axis=1)
    return LineStatistics(values, f"nrefs:{reference_count(references)}|tok:{split}|stem:no|by:calque")


def f1(hits: int, output: int, reference: int) -> float:
    """Return the harmonic mean of hits / output and hits / reference, 0 where there are no hits."""
    return 2 * hits / (output + reference) if hits else 0.0


def _common_ngrams(order: int, output: Words, reference: Words) -> tuple[int, int, int]:
    ours, theirs = (
        Counter(zip(*(words[start:] for start in range(order)), strict=False)) for words in (output, reference)
    )
    return (ours & theirs).total(), ours.total(), theirs.total()


def _common_subsequence(output: Words, reference: Words) -> tuple[int, int, int]:
    return LCSseq.similarity(output, reference), len(output), len(reference)


def _union_subsequences(output: Sequence[Words], reference: Sequence[Words]) -> tuple[int, int, int]:
    """Count the words of each reference sentence that are in a common subsequence with some sentence of the output.

    A word is counted at most as often as it occurs on either side.
    """
    left = [Counter(word for sentence in side for word in sentence) for side in (output, reference)]
    hits = 0
    for sentence in reference:
        found = sorted(set().union(*(_matched(sentence, candidate) for candidate in output)))
        for word in (sentence[place] for place in found):
            if all(side[word] > 0 for side in left):
                hits += 1
                for side in left:
                    side[word] -= 1
    return hits, sum(map(len, output)), sum(map(len, reference))


def _matched(reference: Words, output: Words) -> set[int]:
    """Return the places in `reference` of one longest common subsequence with `output`.

    Of several, the one that ROUGE 1.5.5 finds: from the end, the reference is shortened first where both are as good.
    """
    lengths = [[0] * (len(output) + 1) for _ in range(len(reference) + 1)]
    for row, word in enumerate(reference, 1):
        above, own = lengths[row - 1], lengths[row]
        for column, other in enumerate(output, 1):
            own[column] = above[column - 1] + 1 if word == other else max(above[column], own[column - 1])
    row, column, places = len(reference), len(output), set()
    while row and column:
        if reference[row - 1] == output[column - 1]:
            row, column = row - 1, column - 1
            places.add(row)
        elif lengths[row][column - 1] > lengths[row - 1][column]:
            column -= 1
        else:
            row -= 1
    return places
