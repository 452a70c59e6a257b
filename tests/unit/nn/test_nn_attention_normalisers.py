"""Sparse normalisers: against a search for the threshold, against what they maximise, and their gradients."""

import itertools
import math

import pytest
import torch
from attention_loops import ALPHA, normalised
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from calque.nn.attention.normalisers import NORMALISERS

bounded = settings(max_examples=80, derandomize=True, deadline=None, database=None)
each = pytest.mark.parametrize("name", NORMALISERS)
each_sparse = pytest.mark.parametrize("name", ["sparsemax", "entmax"])
# Whole numbers make ties, fractions near neighbours, and the lowest cannot have weight.
score = st.one_of(
    st.integers(-3, 3).map(float), st.floats(-4, 4), st.floats(-1e4, 1e4), st.sampled_from([-math.inf, -1e30])
)
some_scores = st.lists(score, min_size=1, max_size=12).filter(lambda drawn: max(drawn) > -1e29)


def weights_of(name: str, scores: list[float]) -> Tensor:
    return NORMALISERS[name](torch.tensor(scores, dtype=torch.float64))


@each
@given(scores=some_scores)
@bounded
def test_it_is_what_a_search_for_the_threshold_finds(name: str, scores: list[float]) -> None:
    expected = torch.tensor(normalised(name, scores), dtype=torch.float64)
    torch.testing.assert_close(weights_of(name, scores), expected, rtol=1e-7, atol=1e-7)


@each
@given(scores=some_scores, shift=st.floats(-50, 50))
@bounded
def test_weights_lie_on_the_simplex_and_in_the_order_of_scores(name: str, scores: list[float], shift: float) -> None:
    weights = weights_of(name, scores)
    assert weights.ge(0).all()
    assert float(weights.sum()) == pytest.approx(1, abs=1e-9)
    for (left, one), (right, other) in itertools.combinations(zip(scores, weights.tolist(), strict=True), 2):
        assert (one - other) * (1 if left > right else -1) >= -1e-12 or left == right
        if left == right:
            assert one == pytest.approx(other, abs=1e-12)
    hidden = [weight for given_, weight in zip(scores, weights.tolist(), strict=True) if given_ == -math.inf]
    assert hidden == [0.0] * len(hidden)
    # What is added to all scores changes nothing; nor does what cannot be seen.
    torch.testing.assert_close(weights_of(name, [one + shift for one in scores]), weights, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(weights_of(name, [*scores, -math.inf])[:-1], weights, rtol=1e-9, atol=1e-9)


@each
@torch.no_grad()
def test_no_other_weights_are_better(name: str) -> None:
    """They maximise p · z + H(p), with H Tsallis' entropy of α (Peters et al. 2019, eq. 4 and 6)."""
    torch.manual_seed(1)
    alpha = ALPHA[name]

    def value(weights: Tensor, scores: Tensor) -> Tensor:
        if alpha == 1:
            return (weights * scores).sum(-1) + torch.special.entr(weights).sum(-1)
        return (weights * scores).sum(-1) + (weights - weights**alpha).sum(-1) / (alpha * (alpha - 1))

    for _ in range(20):
        scores = torch.randn(6, dtype=torch.float64)
        best = NORMALISERS[name](scores)
        others = torch.rand(500, 6, dtype=torch.float64).pow(3)
        others = torch.cat([others / others.sum(-1, keepdim=True), torch.eye(6, dtype=torch.float64)])
        near = 0.99 * best + 0.01 * others
        assert value(best, scores) >= torch.cat([value(others, scores), value(near, scores)]).max()


@torch.no_grad()
def test_sparsemax_is_the_nearest_point_of_the_simplex() -> None:
    """Martins & Astudillo 2016, eq. 1."""
    torch.manual_seed(2)
    scores = torch.randn(6, dtype=torch.float64)
    distance = (NORMALISERS["sparsemax"](scores) - scores).square().sum()
    others = torch.rand(2000, 6, dtype=torch.float64).pow(3)
    others /= others.sum(-1, keepdim=True)
    assert distance <= (others - scores).square().sum(-1).min()


@pytest.mark.parametrize("gap", [-2.0, -1.0, -0.3, 0.0, 0.6, 1.0, 5.0])
def test_two_scores_have_a_closed_form(gap: float) -> None:
    """Sparsemax is then the hard sigmoid."""
    assert float(weights_of("sparsemax", [gap, 0.0])[0]) == pytest.approx(min(max((gap + 1) / 2, 0.0), 1.0))


@torch.no_grad()
def test_the_sparser_the_normaliser_the_fewer_have_weight() -> None:
    torch.manual_seed(3)
    scores = torch.randn(50, 20) * 2
    numbers = [int((NORMALISERS[name](scores) > 0).sum()) for name in ("softmax", "entmax", "sparsemax")]
    assert numbers == sorted(set(numbers), reverse=True)
    assert numbers[0] == 1000


@each_sparse
def test_gradients_are_those_of_small_differences(name: str) -> None:
    torch.manual_seed(4)
    for shape in ((7,), (3, 5), (2, 3, 4)):
        scores = (torch.randn(shape, dtype=torch.float64) * 1.5).requires_grad_()
        assert torch.autograd.gradcheck(NORMALISERS[name], scores)
        assert torch.autograd.gradgradcheck(NORMALISERS[name], scores)


@each_sparse
def test_gradients_stay_out_of_what_has_no_weight(name: str) -> None:
    scores = torch.tensor([[0.3, -math.inf, 0.1, -9.0], [2.0, -math.inf, -math.inf, -math.inf]], requires_grad=True)
    weights = NORMALISERS[name](scores)
    (weights * torch.tensor([1.0, 5.0, -2.0, 3.0])).sum().backward()
    assert scores.grad is not None
    assert torch.equal(scores.grad != 0, torch.tensor([[True, False, True, False], [False] * 4]))
    # To add to all scores changes nothing, so the gradient adds up to nothing.
    torch.testing.assert_close(scores.grad.sum(-1), torch.zeros(2), rtol=0, atol=1e-6)


@each
@torch.no_grad()
def test_long_rows_and_half_precision_keep_their_sum(name: str) -> None:
    torch.manual_seed(5)
    for scores in (torch.randn(4, 3000), torch.zeros(4, 3000), torch.randn(4, 3000) * 1e-3):
        weights = NORMALISERS[name](scores)
        torch.testing.assert_close(weights.sum(-1), torch.ones(4), rtol=1e-4, atol=1e-4)
    half = NORMALISERS[name](torch.randn(4, 30).bfloat16()).float()
    torch.testing.assert_close(half.sum(-1), torch.ones(4), rtol=1e-2, atol=1e-2)


@each
def test_what_is_no_number_stays_none(name: str) -> None:
    """A diverged run must see it in its loss, and not stop at an index."""
    weights = NORMALISERS[name](torch.tensor([[math.nan, 1.0], [0.0, 1.0]]))
    assert weights[0].isnan().all()
    assert weights[1].isfinite().all()
