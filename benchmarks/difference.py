"""Compare two kinds of model on the same test set, several seeds each: the difference of their mean scores, with its
95 % interval over resampled lines and seeds.

    python benchmarks/difference.py TEST METRIC --first RUN RUN RUN --second RUN RUN RUN
"""

import argparse
from collections.abc import Sequence

import numpy as np

from calque import load
from calque.cli.common import use_threads
from calque.data.files.readers import Columns, open_dataset
from calque.data.survey import EVERYTHING, development_sample
from calque.metrics.score import FloatArray, Metric
from calque.tasks.kinds import task_metrics

RESAMPLES = 10_000
SEED = 12345


def main() -> None:
    """Print each run's score, and the difference of the means."""
    parser = argparse.ArgumentParser(description="Compare two kinds of model on one test set.")
    parser.add_argument("test")
    parser.add_argument("metric")
    parser.add_argument("--first", nargs="+", required=True)
    parser.add_argument("--second", nargs="+", required=True)
    options = parser.parse_args()
    use_threads(1)
    sides = {}
    for name in ("first", "second"):
        sides[name] = [_statistics(run, options.test, options.metric) for run in getattr(options, name)]
    metric = sides["first"][0][0]
    values = {name: np.stack([statistics for _, statistics in side]) for name, side in sides.items()}
    for name, stacked in values.items():
        for run, statistics in zip(getattr(options, name), stacked, strict=True):
            print(f"{name}: {run}: {metric.name} {metric.value_of(statistics.sum(axis=0)):.2f}")
    drawn = _differences(metric, values["first"], values["second"])
    low, high = np.quantile(drawn, [0.025, 0.975])
    difference = _mean(metric, values["first"]) - _mean(metric, values["second"])
    print(f"first − second: {difference:+.2f}, 95 %: {low:+.2f} to {high:+.2f}")


def _statistics(run: str, test: str, name: str) -> tuple[Metric, FloatArray]:
    """Return the metric and what it needs of each line [N, F] to score a run's answers."""
    predictor = load(run)
    examples = development_sample(open_dataset([test], Columns()), EVERYTHING)
    (metric,) = task_metrics(predictor.task, [name])
    answers = predictor.best([example.source for example in examples])
    return metric, metric.statistics(answers, [example.targets for example in examples]).values


def _differences(metric: Metric, first: FloatArray, second: FloatArray) -> FloatArray:
    """Return the difference of mean scores on each resample of the N lines and of the seeds of [K, N, F]."""
    generator = np.random.default_rng(SEED)
    num_lines = first.shape[1]
    found = np.empty(RESAMPLES)
    for number in range(RESAMPLES):
        weights = np.bincount(generator.integers(num_lines, size=num_lines), minlength=num_lines)
        sides = [side[generator.integers(len(side), size=len(side))] for side in (first, second)]
        found[number] = _mean(metric, sides[0], weights) - _mean(metric, sides[1], weights)
    return found


def _mean(metric: Metric, runs: FloatArray, weights: Sequence[int] | FloatArray | None = None) -> float:
    counts = np.ones(runs.shape[1]) if weights is None else np.asarray(weights)
    return float(np.mean([metric.value_of(counts @ statistics) for statistics in runs]))


if __name__ == "__main__":
    main()
