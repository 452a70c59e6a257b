"""What stands in the place of self-attention: SSRU and average attention by their papers' formulas."""

import math
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor

from calque import rows
from calque.nn.transformer.config import TransformerConfig
from calque.nn.transformer.mixer import Mixer, Sight
from calque.nn.transformer.mixer_kinds import MixerConfig

WIDTH, LENGTH = 4, 5
KINDS = ("ssru", "average")


def built(kind: str, **fields: Any) -> Mixer:
    torch.manual_seed(0)
    mixer = (
        TypeAdapter(MixerConfig)
        .validate_python({"kind": kind})
        .build(TransformerConfig(width=WIDTH, heads=2, feed_forward=6, **fields))
    )
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return mixer.eval()


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def dense(linear: torch.nn.Linear, values: list[float]) -> list[float]:
    shifts = [0.0] * linear.out_features if linear.bias is None else linear.bias.tolist()
    return [
        sum(number * value for number, value in zip(row, values, strict=True)) + shift
        for row, shift in zip(linear.weight.tolist(), shifts, strict=True)
    ]


@torch.no_grad()
def test_ssru_by_its_formula() -> None:
    """Kim et al. 2019: f = σ(W_f x + b), c_t = f · c_{t−1} + (1 − f) · W x, output ReLU(c_t)."""
    ssru = built("ssru")
    values = torch.randn(2, LENGTH, WIDTH)
    found = ssru.mix(values, Sight(torch.arange(LENGTH)))
    for row in range(2):
        cell = [0.0] * WIDTH
        for time, vector in enumerate(values[row].tolist()):
            forget, new = [sigmoid(x) for x in dense(ssru.forget, vector)], dense(ssru.value, vector)
            cell = [f * old + (1 - f) * x for f, old, x in zip(forget, cell, new, strict=True)]
            expected = torch.tensor([max(0.0, number) for number in cell])
            torch.testing.assert_close(found[row, time], expected, rtol=1e-5, atol=1e-5)
    assert ssru.value.bias is None
    assert found.gt(0).any()


@pytest.mark.parametrize("bias", [True, False])
@torch.no_grad()
def test_average_attention_by_its_formula(bias: bool) -> None:
    """Zhang et al. 2018: g = FFN(mean of x_1 … x_t), [i; f] = σ(W [x_t; g] + b), output i · x_t + f · g."""
    average = built("average", bias=bias)
    values = torch.randn(2, LENGTH, WIDTH)
    found = average.mix(values, Sight(torch.arange(LENGTH)))
    for row in range(2):
        vectors = values[row].tolist()
        for time, vector in enumerate(vectors):
            mean = [sum(column) / (time + 1) for column in zip(*vectors[: time + 1], strict=True)]
            network = average.feed_forward
            mixed = dense(network.outer, [max(0.0, unit) for unit in dense(network.inner, mean)])
            gates = [sigmoid(x) for x in dense(average.gate, vector + mixed)]
            expected = [gates[place] * vector[place] + gates[WIDTH + place] * mixed[place] for place in range(WIDTH)]
            torch.testing.assert_close(found[row, time], torch.tensor(expected), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_rows_that_join_later_count_for_themselves(kind: str) -> None:
    mixer = built(kind)
    values = torch.randn(2, LENGTH, WIDTH)
    whole = mixer.mix(values, Sight(torch.arange(LENGTH)))
    state = mixer.start(values[:1])
    for time in range(3):
        mixed, state = mixer.step(values[:1, time : time + 1], state, Sight(torch.tensor([[time]])))
        torch.testing.assert_close(mixed[:, 0], whole[:1, time], rtol=1e-5, atol=1e-5)
    state = rows.join([state, mixer.start(values[1:])])
    for time in range(2):
        step = torch.stack([values[0, 3 + time], values[1, time]]).unsqueeze(1)
        mixed, state = mixer.step(step, state, Sight(torch.tensor([[3 + time], [time]])))
        torch.testing.assert_close(mixed[:, 0], torch.stack([whole[0, 3 + time], whole[1, time]]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_state_does_not_grow(kind: str) -> None:
    mixer = built(kind)
    state: Tensor = mixer.start(torch.zeros(3, 9))
    assert state.shape == (3, WIDTH)
    for time in range(4):
        _, state = mixer.step(torch.randn(3, 1, WIDTH), state, Sight(torch.full((3, 1), time)))
        assert state.shape == (3, WIDTH)
        assert mixer.num_places(state) == 0


def test_the_cell_of_an_ssru_keeps_its_type_in_mixed_arithmetic() -> None:
    ssru = built("ssru")
    values = torch.randn(1, LENGTH, WIDTH)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = ssru.mix(values, Sight(torch.arange(LENGTH)))
        _, state = ssru.step(values[:, :1], ssru.start(values), Sight(torch.zeros(1, 1, dtype=torch.int64)))
    assert mixed.dtype == state.dtype == torch.float32
