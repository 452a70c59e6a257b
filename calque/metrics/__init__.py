"""From strings to scores: every metric is a function of a sum of numbers per line.

So one bootstrap works for all of them, and a paired comparison uses the same numbers. Torch is not imported.
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
