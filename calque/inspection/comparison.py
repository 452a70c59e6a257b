"""Two systems on the same data: scores with tests of significance, slices, and the lines where they differ most."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from calque.data.files.readers import Example
from calque.errors import DataError
from calque.metrics.named import metric_named
from calque.metrics.paired import Paired, compare, line_values
from calque.metrics.score import Metric
from calque.metrics.slices import slices

NUM_SHOWN = 5
# Its value for a single line says little, so that chrF decides which lines differ most.
NOT_BY_LINE = {"bleu": "chrf"}


@dataclass(frozen=True)
class SlicePart:
    """The first metric of both systems on `num_lines` lines of a slice."""

    name: str
    num_lines: int
    first: float
    second: float

    @property
    def difference(self) -> float:
        """Return second − first."""
        return self.second - self.first


@dataclass(frozen=True)
class Difference:
    """A line where the systems differ: its texts, and by how much the second is better by the metric of lines."""

    line: int
    source: str
    reference: str
    first: str
    second: str
    gain: float


@dataclass(frozen=True)
class Comparison:
    """Two systems, `names`, on `num_lines` lines.

    `scores`: a comparison for each metric. `parts`: slices by the first metric. `wins` and `losses`: the lines on
    which the second system gains and loses most, by `line_metric`; `num_wins`, `num_losses` and `num_ties` count
    all lines.
    """

    names: tuple[str, str]
    num_lines: int
    scores: tuple[Paired, ...]
    parts: tuple[SlicePart, ...]
    line_metric: str
    num_wins: int
    num_losses: int
    num_ties: int
    wins: tuple[Difference, ...]
    losses: tuple[Difference, ...]


def compare_outputs(
    names: tuple[str, str],
    outputs: tuple[Sequence[str], Sequence[str]],
    examples: Sequence[Example],
    metrics: Sequence[Metric],
    counts: Counter[str] | None = None,
) -> Comparison:
    """Compare the outputs of two systems for the same examples; `counts` are the words of the training sources.

    Raises DataError if a system has another number of outputs than there are examples.
    """
    for name, own in zip(names, outputs, strict=True):
        if len(own) != len(examples):
            raise DataError(f"{name} has {len(own):,} outputs, but the data have {len(examples):,} lines")
    references = [example.targets for example in examples]
    scores = tuple(compare(metric, *outputs, references) for metric in metrics)
    by_line = metric_named(NOT_BY_LINE.get(metrics[0].name, metrics[0].name))
    gains = line_values(by_line, outputs[1], references) - line_values(by_line, outputs[0], references)
    gains = gains if by_line.higher_is_better else -gains
    order = np.argsort(gains, kind="stable")
    shown = [_difference(int(number), outputs, examples, gains) for number in (*order[:NUM_SHOWN], *order[-NUM_SHOWN:])]
    return Comparison(
        names,
        len(examples),
        scores,
        tuple(_parts(metrics[0], outputs, examples, counts)),
        by_line.name,
        int((gains > 0).sum()),
        int((gains < 0).sum()),
        int((gains == 0).sum()),
        tuple(one for one in reversed(shown) if one.gain > 0)[:NUM_SHOWN],
        tuple(one for one in shown if one.gain < 0)[:NUM_SHOWN],
    )


def _parts(
    metric: Metric,
    outputs: tuple[Sequence[str], Sequence[str]],
    examples: Sequence[Example],
    counts: Counter[str] | None,
) -> Iterator[SlicePart]:
    references = [example.targets for example in examples]
    values = [metric.statistics(own, references).values for own in outputs]
    for part in slices([example.source for example in examples], references, counts):
        first, second = (metric.value_of(own[part.chosen].sum(axis=0)) for own in values)
        yield SlicePart(part.name, int(part.chosen.sum()), first, second)


def _difference(
    number: int, outputs: tuple[Sequence[str], Sequence[str]], examples: Sequence[Example], gains: np.ndarray
) -> Difference:
    example = examples[number]
    texts = outputs[0][number], outputs[1][number]
    return Difference(example.line, example.source, example.targets[0], *texts, float(gains[number]))
