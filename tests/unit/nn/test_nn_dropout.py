"""Dropout from random bytes: probability, expectation, evaluation, and that the saved generator repeats it."""

import math

import pytest
import torch

from calque.nn.dropout import AddDropped, Dropout, keep_mask

COUNT = 400_000


@pytest.mark.parametrize("p", [0.1, 0.25, 0.5, 0.9])
def test_the_realised_probability(p: float) -> None:
    """As many are dropped as the nearest of 256 steps says, within five standard deviations."""
    torch.manual_seed(1)
    realised = round(p * 256) / 256
    assert abs(realised - p) <= 1 / 512
    dropped = Dropout(p)(torch.ones(COUNT)).eq(0).double().mean().item()
    assert abs(dropped - realised) < 5 * math.sqrt(realised * (1 - realised) / COUNT)


@pytest.mark.parametrize("p", [0.1, 0.3, 0.7])
def test_the_expectation_is_the_value(p: float) -> None:
    torch.manual_seed(2)
    values = torch.full((COUNT,), 3.0, dtype=torch.float64)
    dropped = Dropout(p)(values)
    assert abs(dropped.mean().item() - 3.0) < 5 * 3.0 * math.sqrt(p / (1 - p) / COUNT)
    assert len(dropped.unique()) == 2


def test_every_place_is_dropped_as_often_and_on_its_own() -> None:
    """The eight bytes of a word are independent: neighbours fall together as often as chance has it."""
    torch.manual_seed(3)
    dropped = Dropout(0.5)(torch.ones(COUNT)).eq(0).view(-1, 8).double()
    tolerance = 5 * 0.5 / math.sqrt(len(dropped))
    assert (dropped.mean(dim=0) - 0.5).abs().max() < tolerance
    together = dropped.T @ dropped / len(dropped)
    expected = torch.full((8, 8), 0.25, dtype=torch.float64).fill_diagonal_(0.5)
    assert (together - expected).abs().max() < tolerance


@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 5), (2, 3, 9)])
def test_any_shape(shape: tuple[int, ...]) -> None:
    values = torch.ones(shape)
    assert Dropout(0.5)(values).shape == shape
    assert AddDropped(0.5)(values, values).shape == shape


def test_evaluation_changes_nothing_and_draws_nothing() -> None:
    values, change = torch.randn(4, 5), torch.randn(4, 5)
    before = torch.get_rng_state()
    assert torch.equal(Dropout(0.5).eval()(values), values)
    assert torch.equal(AddDropped(0.5).eval()(values, change), values + change)
    assert torch.equal(Dropout(0.0)(values), values)
    assert torch.equal(AddDropped(0.0)(values, change), values + change)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_generators_state_restores_the_mask() -> None:
    values = torch.ones(1000)
    dropout = Dropout(0.3)
    state = torch.get_rng_state()
    first, second = dropout(values), dropout(values)
    torch.set_rng_state(state)
    assert torch.equal(dropout(values), first)
    assert torch.equal(dropout(values), second)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_add_dropped_is_the_sum_with_dropout(p: float) -> None:
    values, change = torch.randn(13, 11), torch.randn(13, 11)
    state = torch.get_rng_state()
    expected = values + Dropout(p)(change)
    torch.set_rng_state(state)
    torch.testing.assert_close(AddDropped(p)(values, change), expected, rtol=1e-6, atol=1e-6)


def test_the_gradient_goes_where_the_value_went() -> None:
    values, change = torch.ones(1000, requires_grad=True), torch.ones(1000, requires_grad=True)
    dropped = Dropout(0.3)(values)
    dropped.sum().backward()
    assert torch.equal(values.grad, dropped.detach())
    values.grad = None
    added = AddDropped(0.3)(values, change)
    added.sum().backward()
    assert values.grad.eq(1).all()
    torch.testing.assert_close(change.grad, added.detach() - 1)


def test_bfloat16_stays() -> None:
    values = torch.ones(64, dtype=torch.bfloat16)
    assert Dropout(0.5)(values).dtype == torch.bfloat16
    assert AddDropped(0.5)(values, values).dtype == torch.bfloat16


def test_the_mask_keeps_all_at_nothing_to_drop() -> None:
    assert keep_mask(torch.Size([999]), 0, torch.device("cpu")).all()


@pytest.mark.parametrize("p", [1.0, -0.1])
def test_what_leaves_nothing_is_refused(p: float) -> None:
    with pytest.raises(AssertionError):
        Dropout(p)
