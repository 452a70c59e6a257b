"""Whether one system is better than another on the same lines: paired bootstrap and approximate randomisation.

Koehn, "Statistical significance tests for machine translation evaluation", EMNLP 2004; Riezler & Maxwell, "On some
pitfalls in automatic evaluation and significance testing for MT", ACL 2005 workshop.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from calque.metrics.bootstrap import RESAMPLES, SEED, resampled_values
from calque.metrics.score import FloatArray, Metric


@dataclass(frozen=True)
class Paired:
    """One metric of two systems on N lines.

    `difference` is second − first, `low` and `high` bound its 95 % interval over resampled lines. `p_bootstrap` and
    `p_randomisation` are two-sided: how often systems of equal quality would differ as much.
    """

    metric: str
    first: float
    second: float
    difference: float
    low: float
    high: float
    p_bootstrap: float
    p_randomisation: float
    num_lines: int
    higher_is_better: bool
    signature: str

    @property
    def better(self) -> str:
        """Return which system is better by both tests at 5 %: first, second, or neither."""
        if max(self.p_bootstrap, self.p_randomisation) >= 0.05 or not self.difference:
            return "neither"
        return "second" if (self.difference > 0) == self.higher_is_better else "first"

    def as_dict(self) -> dict[str, object]:
        """Return the fields, and `better`, as a dictionary that JSON can hold."""
        return asdict(self) | {"better": self.better}


def compare(
    metric: Metric,
    first: Sequence[str],
    second: Sequence[str],
    references: Sequence[Sequence[str]],
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Paired:
    """Compare the outputs of two systems for the same lines; DataError if their numbers differ."""
    ours, theirs = metric.statistics(first, references), metric.statistics(second, references)
    values = [metric.value_of(lines.values.sum(axis=0)) for lines in (ours, theirs)]
    difference = values[1] - values[0]
    # The same seed draws the same lines for both systems.
    drawn = resampled_values(metric, theirs.values, resamples, seed) - resampled_values(
        metric, ours.values, resamples, seed
    )
    low, high = np.quantile(drawn, [0.025, 0.975]).tolist()
    swapped = _swapped(metric, ours.values, theirs.values, resamples, seed)
    signature = f"{ours.signature}|paired:{resamples}|seed:{seed}"
    return Paired(
        metric.name,
        values[0],
        values[1],
        difference,
        low,
        high,
        # Under the hypothesis of equal quality the resampled differences spread around 0 as they do around their mean.
        _share_as_large(drawn - drawn.mean(), difference),
        _share_as_large(swapped, difference),
        len(references),
        metric.higher_is_better,
        signature,
    )


def line_values(metric: Metric, outputs: Sequence[str], references: Sequence[Sequence[str]]) -> FloatArray:
    """Return the metric of each line alone, [N]."""
    return np.array([metric.value_of(line) for line in metric.statistics(outputs, references).values])


def _swapped(metric: Metric, first: FloatArray, second: FloatArray, resamples: int, seed: int) -> FloatArray:
    """Return the difference [R] after the outputs of the two systems were exchanged in a random half of the lines."""
    generator = np.random.default_rng(seed)
    moved, totals = second - first, (first.sum(axis=0), second.sum(axis=0))
    found = np.empty(resamples)
    for number in range(resamples):
        change = generator.integers(2, size=len(moved)) @ moved
        found[number] = metric.value_of(totals[1] - change) - metric.value_of(totals[0] + change)
    return found


def _share_as_large(differences: FloatArray, observed: float) -> float:
    """Return the share of differences that are at least as large as the observed one, which counts as one of them."""
    # Sums of statistics in another order differ in the last bits.
    as_large = np.abs(differences) >= abs(observed) * (1 - 1e-9) - 1e-12
    return float((as_large.sum() + 1) / (len(differences) + 1))
