"""Exact match, character and word error rate.

Levenshtein 1966. White space at both ends is dropped and each run of it becomes one space, for all three.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from calque.metrics.score import FloatArray, Interval, LineStatistics, Metric, reference_count

IntArray = NDArray[np.int64]
# The 97.5 % quantile of the normal distribution.
Z = 1.959963984540054


def exact() -> Metric:
    """Return the percentage of lines that equal one of their references."""
    return Metric("exact", True, _measure_exact, share_of_lines, wilson)


def cer() -> Metric:
    """Return the character error rate: edits per reference character, as a percentage."""
    return Metric("cer", False, partial(_measure_edits, "char", str), share_of_lines)


def wer() -> Metric:
    """Return the word error rate: edits per reference word (between spaces), as a percentage."""
    return Metric("wer", False, partial(_measure_edits, "word", str.split), share_of_lines)


def per() -> Metric:
    """Return the error rate over symbols: edits per reference symbol (between spaces), as a percentage."""
    return Metric("per", False, partial(_measure_edits, "symbol", str.split), share_of_lines)


def wrong_words() -> Metric:
    """Return the word error rate where each line is one word: the percentage of lines that equal no reference."""
    return Metric("wer", False, _measure_wrong, share_of_lines, wilson)


def edit_distances(pairs: Sequence[tuple[Sequence[str], Sequence[str]]]) -> IntArray:
    """Return the least number of insertions, deletions and substitutions between both sides of each pair, [P]."""
    # Imported here: it takes 30 ms, and most commands compare no texts.
    from rapidfuzz.distance import Levenshtein

    return np.fromiter((Levenshtein.distance(left, right) for left, right in pairs), np.int64, len(pairs))


def fold_spaces(text: str) -> str:
    """Return the text without outer white space, and with one space for each inner run of white space."""
    return " ".join(text.split())


def _measure_exact(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> LineStatistics:
    right = [
        fold_spaces(hypothesis) in [fold_spaces(answer) for answer in answers]
        for hypothesis, answers in zip(hypotheses, references, strict=True)
    ]
    values = np.stack([np.array(right, dtype=np.float64), np.ones(len(right))], axis=1)
    return LineStatistics(values, _signature("line", references))


def _measure_wrong(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> LineStatistics:
    right, count = _measure_exact(hypotheses, references).values.T
    return LineStatistics(np.stack([count - right, count], axis=1), _signature("line", references))


def _measure_edits(
    unit: str,
    split: Callable[[str], Sequence[str]],
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
) -> LineStatistics:
    """Return edits and reference length of each line, against the reference that gives the lowest rate."""
    owner = np.array([i for i, answers in enumerate(references) for _ in answers])
    outputs = [split(fold_spaces(hypothesis)) for hypothesis in hypotheses]
    answers = [split(fold_spaces(answer)) for line in references for answer in line]
    edits = edit_distances([(outputs[i], answer) for i, answer in zip(owner, answers, strict=True)])
    length = np.array([len(answer) for answer in answers])
    # An empty output is right for an empty reference; any other output is then worse than any rate.
    rate = np.where(length > 0, edits / np.maximum(length, 1), np.where(edits > 0, np.inf, 0.0))
    order = np.lexsort((edits, rate, owner))
    chosen = order[np.searchsorted(owner[order], np.arange(len(hypotheses)))]
    values = np.stack([edits[chosen], length[chosen]], axis=1).astype(np.float64)
    return LineStatistics(values, _signature(unit, references))


def share_of_lines(total: FloatArray) -> float:
    part, whole = total.tolist()
    if whole == 0:
        return 100.0 if part else 0.0
    return float(100 * part / whole)


def wilson(total: FloatArray) -> Interval:
    """Return the 95 % score interval of a share of right lines (Wilson 1927).

    With few lines, or nearly all lines right, the bootstrap is far too narrow: a resample of lines that are all right
    is always all right.
    """
    right, count = total.tolist()
    share, square = right / count, Z**2 / count
    centre = (share + square / 2) / (1 + square)
    half = Z / (1 + square) * math.sqrt(share * (1 - share) / count + square / (4 * count))
    # Rounding must not leave the value outside.
    low, high = min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half))
    return Interval(100 * low, 100 * high, "wilson")


def _signature(unit: str, references: Sequence[Sequence[str]]) -> str:
    return f"nrefs:{reference_count(references)}|case:mixed|unit:{unit}|space:folded|by:calque"
