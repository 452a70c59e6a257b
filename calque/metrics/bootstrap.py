"""Confidence intervals of scores: resample the lines, and take the middle 95 % of the scores.

Koehn, "Statistical significance tests for machine translation evaluation", EMNLP 2004.
"""

from collections.abc import Sequence

import numpy as np

from calque.metrics.score import FloatArray, Interval, Metric, Score

RESAMPLES = 1000
SEED = 12345


def resample(values: FloatArray, resamples: int = RESAMPLES, seed: int = SEED) -> FloatArray:
    """Return the sums [R, F] of `resamples` draws, with replacement, of N lines from `values` [N, F].

    The draws depend on N, `resamples` and `seed` alone: two systems on the same lines are resampled in pairs.
    """
    generator = np.random.default_rng(seed)
    num_lines = len(values)
    totals = np.empty((resamples, values.shape[1]))
    for number in range(resamples):
        drawn = generator.integers(num_lines, size=num_lines)
        # The count of each line times its statistics: faster than gathering the lines, and in constant memory.
        totals[number] = np.bincount(drawn, minlength=num_lines) @ values
    return totals


def resampled_values(metric: Metric, values: FloatArray, resamples: int = RESAMPLES, seed: int = SEED) -> FloatArray:
    """Return the metric's value on each resample, [R]; the same seed gives the same lines to every system."""
    return np.array([metric.value_of(total) for total in resample(values, resamples, seed)])


def bootstrap(
    metric: Metric,
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Score:
    """Return the score with its 95 % interval: the 2.5th to the 97.5th percentile over resampled lines.

    A metric with a formula for its interval, such as exact match, is not resampled.
    """
    lines = metric.statistics(hypotheses, references)
    total = lines.values.sum(axis=0)
    if metric.interval_of is not None:
        interval = metric.interval_of(total)
        how = f"ci:{interval.method}"
    else:
        low, high = np.quantile(resampled_values(metric, lines.values, resamples, seed), [0.025, 0.975]).tolist()
        interval, how = Interval(low, high, "bootstrap"), f"bs:{resamples}|seed:{seed}"
    # sacrebleu writes the bootstrap directly after the number of references.
    references_part, _, rest = lines.signature.partition("|")
    signature = f"{references_part}|{how}|{rest}"
    value = metric.value_of(total)
    return Score(metric.name, value, interval.low, interval.high, signature, metric.higher_is_better)
