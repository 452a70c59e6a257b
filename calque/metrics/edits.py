"""Exact match, character and word error rate: what counts where an answer is right or wrong, not better or worse.

Levenshtein 1966. White space at both ends is dropped and each run of it folded into one blank, for all three.
"""

from collections.abc import Callable, Hashable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from calque.metrics.score import FloatArray, LineStatistics, Metric

IntArray = NDArray[np.int64]

# Cells of one table row times lines handled together: 4 MB of int32, which stays in the cache.
_CELLS = 1 << 20


def exact() -> Metric:
    """Return the percentage of lines that equal one of their references."""
    return Metric("exact", True, _measure_exact, _percentage)


def cer() -> Metric:
    """Return the character error rate: edits per reference character, as a percentage."""
    return Metric("cer", False, partial(_measure_edits, "char", list), _percentage)


def wer() -> Metric:
    """Return the word error rate: edits per reference word (between blanks), as a percentage."""
    return Metric("wer", False, partial(_measure_edits, "word", str.split), _percentage)


def edit_distances(pairs: Sequence[tuple[Sequence[Hashable], Sequence[Hashable]]]) -> IntArray:
    """Return the least number of insertions, deletions and substitutions between both sides of each pair, [P]."""
    numbers: dict[Hashable, int] = {}
    coded = [tuple(_code(side, numbers) for side in pair) for pair in pairs]
    distances = np.empty(len(pairs), dtype=np.int64)
    waiting: list[int] = []
    width = 0
    # Lines of like length share a table, so that few cells are padding.
    for i in sorted(range(len(pairs)), key=lambda i: (len(coded[i][1]), len(coded[i][0]))):
        wider = max(width, len(coded[i][0]) + 1)
        if waiting and wider * (len(waiting) + 1) > _CELLS:
            distances[waiting] = _distances_together([coded[j] for j in waiting])
            waiting, wider = [], len(coded[i][0]) + 1
        waiting.append(i)
        width = wider
    if waiting:
        distances[waiting] = _distances_together([coded[j] for j in waiting])
    return distances


def fold_spaces(text: str) -> str:
    """Return the text without outer white space, each inner run of it as one blank."""
    return " ".join(text.split())


def _code(symbols: Sequence[Hashable], numbers: dict[Hashable, int]) -> NDArray[np.int32]:
    return np.array([numbers.setdefault(symbol, len(numbers)) for symbol in symbols], dtype=np.int32)


def _distances_together(pairs: Sequence[tuple[NDArray[np.int32], ...]]) -> IntArray:
    left = _padded([pair[0] for pair in pairs], filler=-1)
    right = _padded([pair[1] for pair in pairs], filler=-2)
    left_length = np.array([len(pair[0]) for pair in pairs])
    right_length = np.array([len(pair[1]) for pair in pairs])
    column = np.arange(left.shape[1] + 1, dtype=np.int32)
    row = np.tile(column, (len(pairs), 1))
    distances = left_length.astype(np.int64)
    for j in range(right.shape[1]):
        best = np.empty_like(row)
        best[:, 0] = j + 1
        np.minimum(row[:, 1:] + 1, row[:, :-1] + (left != right[:, j : j + 1]), out=best[:, 1:])
        # A gap of k costs k, so the cheapest way along the row is a running minimum of (cost - column).
        row = np.minimum.accumulate(best - column, axis=1) + column
        done = np.flatnonzero(right_length == j + 1)
        distances[done] = row[done, left_length[done]]
    return distances


def _padded(sides: Sequence[NDArray[np.int32]], filler: int) -> NDArray[np.int32]:
    table = np.full((len(sides), max(map(len, sides))), filler, dtype=np.int32)
    for i, side in enumerate(sides):
        table[i, : len(side)] = side
    return table


def _measure_exact(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> LineStatistics:
    right = [
        fold_spaces(hypothesis) in [fold_spaces(answer) for answer in answers]
        for hypothesis, answers in zip(hypotheses, references, strict=True)
    ]
    values = np.stack([np.array(right, dtype=np.float64), np.ones(len(right))], axis=1)
    return LineStatistics(values, _signature("line", references))


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
    # Nothing expected and nothing given is right; nothing expected and something given is worse than any rate.
    rate = np.where(length > 0, edits / np.maximum(length, 1), np.where(edits > 0, np.inf, 0.0))
    order = np.lexsort((edits, rate, owner))
    chosen = order[np.searchsorted(owner[order], np.arange(len(hypotheses)))]
    values = np.stack([edits[chosen], length[chosen]], axis=1).astype(np.float64)
    return LineStatistics(values, _signature(unit, references))


def _percentage(total: FloatArray) -> float:
    part, whole = total.tolist()
    if whole == 0:
        return 100.0 if part else 0.0
    return float(100 * part / whole)


def _signature(unit: str, references: Sequence[Sequence[str]]) -> str:
    counts = {len(answers) for answers in references}
    num_references = str(counts.pop()) if len(counts) == 1 else "var"
    return f"nrefs:{num_references}|case:mixed|unit:{unit}|space:folded|by:calque"
