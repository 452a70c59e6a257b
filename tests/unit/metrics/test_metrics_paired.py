"""Paired tests: against scalar loops, against sacrebleu's, and what must hold for any two systems."""

import random
from statistics import NormalDist

import numpy as np
import pytest
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.significance import PairedTest

from calque.metrics.named import metric_named
from calque.metrics.paired import compare, line_values

WORDS = ["the", "a", "mill", "bridge", "river", "stands", "near", "old", "new", "house", "under", "tree", "road"]


def systems(seed: int, share: tuple[float, float], number: int = 60) -> tuple[list[str], list[str], list[list[str]]]:
    """Return the outputs of two systems that drop a share of the words of the references."""
    draw = random.Random(seed)
    references = [" ".join(draw.choices(WORDS, k=draw.randint(5, 12))) for _ in range(number)]

    def dropped(text: str, part: float) -> str:
        return " ".join(word for word in text.split() if draw.random() >= part)

    first, second = ([dropped(text, part) for text in references] for part in share)
    return first, second, [[text] for text in references]


@pytest.mark.parametrize("name", ["bleu", "chrf", "exact", "cer", "rougeL"])
def test_a_system_equals_itself(name: str) -> None:
    first, _, references = systems(1, (0.2, 0.2))
    found = compare(metric_named(name), first, first, references, resamples=100)
    assert found.difference == found.low == found.high == 0
    assert found.p_bootstrap == found.p_randomisation == 1
    assert found.better == "neither"


@pytest.mark.parametrize("name", ["bleu", "chrf", "cer"])
def test_exchanged_systems_exchange_the_result(name: str) -> None:
    first, second, references = systems(2, (0.3, 0.1))
    found = compare(metric_named(name), first, second, references, resamples=200)
    back = compare(metric_named(name), second, first, references, resamples=200)
    assert back.difference == pytest.approx(-found.difference)
    assert (back.low, back.high) == pytest.approx((-found.high, -found.low))
    assert back.p_bootstrap == found.p_bootstrap
    assert back.p_randomisation == found.p_randomisation
    assert (found.better, back.better) == ("second", "first")


@pytest.mark.parametrize("share", [(0.2, 0.2), (0.25, 0.2)])
def test_randomisation_is_that_of_sacrebleu(share: tuple[float, float]) -> None:
    first, second, references = systems(3, share)
    named = [("first", first), ("second", second)]
    metrics = {"BLEU": BLEU(force=True, references=None), "chrF2": CHRF()}
    _, results = PairedTest(named, metrics, list(zip(*references, strict=True)), test_type="ar", n_samples=1000)()
    for name, mine in (("BLEU", "bleu"), ("chrF2", "chrf")):
        found = compare(metric_named(mine), first, second, references)
        theirs = results[name]
        assert (found.first, found.second) == pytest.approx((theirs[0].score, theirs[1].score))
        # Both draw at random, 1,000 times: three standard errors of a share are at most 0.05.
        assert found.p_randomisation == pytest.approx(theirs[1].p_value, abs=0.05)


@pytest.mark.parametrize("share", [(0.2, 0.2), (0.24, 0.2), (0.3, 0.1)])
def test_the_bootstrap_of_a_mean_is_close_to_the_normal_distribution(share: tuple[float, float]) -> None:
    """A mean of many lines is nearly normal, so that its error gives p and interval by formula."""
    first, second, references = systems(6, share, number=400)
    metric = metric_named("rougeL")
    gains = line_values(metric, second, references) - line_values(metric, first, references)
    error = gains.std() / len(gains) ** 0.5
    found = compare(metric, first, second, references)
    normal = NormalDist()
    assert found.difference == pytest.approx(gains.mean())
    assert found.p_bootstrap == pytest.approx(2 * (1 - normal.cdf(abs(gains.mean()) / error)), abs=0.05)
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_the_share_of_random_exchanges_is_that_of_a_loop() -> None:
    """Try every exchange of few lines one by one: a mean of line scores that are chosen by hand."""
    first, second, references = systems(4, (0.4, 0.1), number=8)
    metric = metric_named("rougeL")
    ours, theirs = line_values(metric, first, references), line_values(metric, second, references)
    observed = abs(theirs.mean() - ours.mean())
    as_large = 0
    for choice in range(2 ** len(ours)):
        signs = [1 if choice >> place & 1 else -1 for place in range(len(ours))]
        total = sum(sign * (b - a) for sign, a, b in zip(signs, ours, theirs, strict=True)) / len(ours)
        as_large += abs(total) >= observed - 1e-9
    found = compare(metric, first, second, references, resamples=4000)
    assert found.p_randomisation == pytest.approx(as_large / 2 ** len(ours), abs=0.03)


def test_the_interval_covers_the_difference() -> None:
    first, second, references = systems(5, (0.3, 0.1))
    found = compare(metric_named("chrf"), first, second, references)
    assert found.low < found.difference < found.high
    assert found.low > 0
    assert np.isfinite([found.low, found.high]).all()
