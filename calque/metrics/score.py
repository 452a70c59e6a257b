"""What a metric is: sufficient statistics per line, and a value computed from their sum over the lines.

The score of a corpus is a mean of scores of lines only for the metrics that are published so: ROUGE, EM and F1.
"""

import dataclasses
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from calque.errors import DataError, UsageError

FloatArray: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Score:
    """One measured value; `low` and `high` bound its 95 % interval, None if it was not computed."""

    name: str
    value: float
    low: float | None
    high: float | None
    signature: str
    higher_is_better: bool

    def as_dict(self) -> dict[str, str | float | bool | None]:
        """Return the fields as a dictionary that JSON can hold."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class Interval:
    """The bounds of a 95 % interval and the name of the method, for the signature."""

    low: float
    high: float
    method: str


@dataclass(frozen=True)
class LineStatistics:
    """The statistics of N lines, `values` [N, F], and the signature: all choices that determine the score."""

    values: FloatArray
    signature: str


@dataclass(frozen=True)
class Metric:
    """A metric: `measure` (lines -> statistics) and `value_of` (their sum [F] -> value).

    `measure` takes outputs and, for each, one or more references. All texts are compared in Unicode's composed form
    (NFC), in which two forms of a text are equal. If that changed a text, the signature has `unicode:nfc`.
    `interval_of` computes the 95 % interval from the sum if there is a better formula than resampling lines.
    """

    name: str
    higher_is_better: bool
    measure: Callable[[Sequence[str], Sequence[Sequence[str]]], LineStatistics]
    value_of: Callable[[FloatArray], float]
    interval_of: Callable[[FloatArray], Interval] | None = None

    def statistics(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> LineStatistics:
        """Return the statistics of each line; raise DataError or UsageError if outputs and references do not fit."""
        check_lines(hypotheses, references)
        if all(is_composed(text) for texts in (hypotheses, *references) for text in texts):
            return self.measure(hypotheses, references)
        hypotheses = [composed(text) for text in hypotheses]
        references = [[composed(answer) for answer in answers] for answers in references]
        lines = self.measure(hypotheses, references)
        return LineStatistics(lines.values, f"{lines.signature}|unicode:nfc")

    def score(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Score:
        """Return the score of the whole corpus, without an interval (see `bootstrap`)."""
        lines = self.statistics(hypotheses, references)
        value = self.value_of(lines.values.sum(axis=0))
        return Score(self.name, value, None, None, lines.signature, self.higher_is_better)


def mean_of_lines(total: FloatArray) -> float:
    """Return the mean where the statistics of a line are its score and 1."""
    score, count = total.tolist()
    return float(score / count)


def reference_count(references: Sequence[Sequence[str]]) -> str:
    """Return the number of references of each line for a signature, `var` where it differs between lines."""
    counts = {len(answers) for answers in references}
    return str(counts.pop()) if len(counts) == 1 else "var"


is_composed = partial(unicodedata.is_normalized, "NFC")
composed = partial(unicodedata.normalize, "NFC")


def check_lines(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    """Raise DataError or UsageError unless there is a line, and one list of references for each output."""
    if isinstance(hypotheses, str) or isinstance(references, str):
        raise UsageError("A metric takes a list of outputs and a list of lists of references, not one text.")
    if len(hypotheses) != len(references):
        raise DataError(
            f"{len(hypotheses)} outputs, but references for {len(references)} lines: give one list of references "
            "for each output, in the same order."
        )
    if not len(hypotheses):
        raise DataError("There is nothing to score: no output and no reference.")
    for number, (hypothesis, answers) in enumerate(zip(hypotheses, references, strict=True), start=1):
        if not isinstance(hypothesis, str):
            raise UsageError(f"Output {number} must be text, not {type(hypothesis).__name__}.")
        if isinstance(answers, str):
            raise UsageError(f"The references of line {number} must be a list, [text], not a bare text.")
        if not len(answers):
            raise DataError(f"Line {number} has no reference to compare with.")
        if not all(isinstance(answer, str) for answer in answers):
            raise UsageError(f"A reference of line {number} is not text.")
