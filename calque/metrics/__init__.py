"""Strings to scores: every measure is a sum of numbers per line and a function of that sum.

So one bootstrap serves all of them, and a paired comparison can reuse the same numbers. No torch here.
"""

from calque.metrics.bootstrap import bootstrap, resample, resampled_values
from calque.metrics.named import METRIC_NAMES, metric_named
from calque.metrics.score import FloatArray, LineStatistics, Metric, Score

__all__ = [
    "METRIC_NAMES",
    "FloatArray",
    "LineStatistics",
    "Metric",
    "Score",
    "bootstrap",
    "metric_named",
    "resample",
    "resampled_values",
]
