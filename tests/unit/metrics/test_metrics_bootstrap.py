"""Intervals must cover the value, shrink with the lines, agree with theory and sacrebleu, and be quick."""

import json
import random
import time

import numpy as np
import pytest
from sacrebleu.metrics import BLEU

from calque.metrics import METRIC_NAMES, bootstrap, metric_named, resample, resampled_values


def corpus(num_lines, seed=0):
    draw = random.Random(seed)
    words = [f"word{i}" for i in range(50)]
    references = [[draw.choice(words) for _ in range(draw.randint(4, 15))] for _ in range(num_lines)]
    outputs = [
        [draw.choice(words) if right and draw.random() < 0.3 else word for word in line]
        for line, right in ((line, draw.random() < 0.6) for line in references)
    ]
    return [" ".join(line) for line in outputs], [[" ".join(line)] for line in references]


@pytest.mark.parametrize("name", METRIC_NAMES)
def test_interval_covers_the_value_and_shrinks(name):
    metric = metric_named(name)
    outputs, references = corpus(160)
    few = bootstrap(metric, outputs[:20], references[:20], resamples=200)
    many = bootstrap(metric, outputs, references, resamples=200)
    for score in (few, many):
        assert score.low < score.value < score.high
    assert many.value == metric.score(outputs, references).value
    assert (many.high - many.low) < 0.6 * (few.high - few.low)


def test_exact_match_interval_is_the_binomial_one():
    right = np.random.default_rng(1).random(2000) < 0.3
    score = bootstrap(metric_named("exact"), ["a" if x else "b" for x in right], [["a"]] * 2000)
    share = right.mean()
    assert score.high - score.low == pytest.approx(100 * 2 * 1.96 * np.sqrt(share * (1 - share) / 2000), rel=0.12)


@pytest.mark.parametrize(("share", "count"), [(0.985, 20), (0.985, 200), (0.5, 20), (0.9, 50), (0.02, 100)])
def test_the_interval_of_exact_match_covers_the_true_share(share, count):
    """Draw sets of lines of which a known share is right: the interval holds that share in at least 9 of 10 sets."""
    draws = np.random.default_rng(7).random((400, count)) < share
    covered = 0
    for right in draws:
        score = bootstrap(metric_named("exact"), ["a" if x else "b" for x in right], [["a"]] * count)
        assert 0 <= score.low <= score.value <= score.high <= 100
        covered += score.low <= 100 * share <= score.high
    assert covered >= 0.9 * len(draws)


def test_all_right_and_all_wrong_have_an_interval():
    """Leave room where every line is right, or none: ten right lines prove little."""
    for output, value in (("a", 100), ("b", 0)):
        score = bootstrap(metric_named("exact"), [output] * 10, [["a"]] * 10)
        assert score.value == value
        assert score.high - score.low > 20
        assert "ci:wilson" in score.signature


def test_bleu_interval_is_as_wide_as_sacrebleus():
    outputs, references = corpus(200)
    score = bootstrap(metric_named("bleu"), outputs, references)
    other = BLEU().corpus_score(outputs, [[line[0] for line in references]], n_bootstrap=1000)
    half_width = json.loads(other.format(is_json=True, signature="nrefs:1"))["confidence_var"]
    assert (score.high - score.low) / 2 == pytest.approx(half_width, rel=0.12)
    assert score.signature.startswith("nrefs:1|bs:1000|seed:12345|case:mixed|")


def test_seed_fixes_the_interval():
    outputs, references = corpus(50)
    metric = metric_named("chrf")
    one, same, other = (bootstrap(metric, outputs, references, resamples=50, seed=seed) for seed in (1, 1, 2))
    assert one == same
    assert (one.low, one.high) != (other.low, other.high)


def test_two_systems_are_resampled_on_the_same_lines():
    outputs, references = corpus(60)
    worse = ["" if i % 3 == 0 else output for i, output in enumerate(outputs)]
    metric = metric_named("chrf")
    good, bad = (metric.statistics(lines, references).values for lines in (outputs, worse))
    assert resample(good, 20) + resample(bad, 20) == pytest.approx(resample(good + bad, 20))
    assert (resampled_values(metric, good, 100) > resampled_values(metric, bad, 100)).all()


def test_each_resample_draws_as_many_lines():
    totals = resample(np.ones((37, 2)), resamples=10)
    assert totals.shape == (10, 2)
    assert (totals == 37).all()
    assert (resample(np.eye(37), resamples=10).std(axis=1) > 0).all()


def test_thousand_lines_take_less_than_a_second():
    metric = metric_named("bleu")
    outputs, references = corpus(1000)
    values = metric.statistics(outputs, references).values
    start = time.process_time()
    resampled_values(metric, values)
    assert time.process_time() - start < 1
