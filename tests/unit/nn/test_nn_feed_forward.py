"""The feed-forward network: every activation by its formula, number by number, with a gate or without."""

import math
from collections.abc import Callable

import pytest
import torch

from calque.nn.transformer.feed_forward import ACTIVATIONS, Activation, build_feed_forward

WIDTH, UNITS = 5, 7


def gelu(x: float) -> float:
    """x · Φ(x), Φ the normal distribution (Hendrycks & Gimpel 2016)."""
    return x * 0.5 * (1 + math.erf(x / math.sqrt(2)))


def gelu_tanh(x: float) -> float:
    """The approximation that the same paper gives."""
    return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def silu(x: float) -> float:
    """x · σ(x)."""
    return x / (1 + math.exp(-x))


FORMULAS: dict[Activation, tuple[Callable[[float], float], bool]] = {
    "relu": (lambda x: max(0.0, x), False),
    "gelu": (gelu, False),
    "gelu_tanh": (gelu_tanh, False),
    "silu": (silu, False),
    "swiglu": (silu, True),
    "geglu": (gelu, True),
    "geglu_tanh": (gelu_tanh, True),
}


def dense(weight: torch.Tensor, bias: torch.Tensor | None, values: list[float]) -> list[float]:
    rows = weight.double().tolist()
    shifts = [0.0] * len(rows) if bias is None else bias.double().tolist()
    return [
        sum(number * value for number, value in zip(row, values, strict=True)) + shift
        for row, shift in zip(rows, shifts, strict=True)
    ]


def test_every_activation_has_a_formula_here() -> None:
    assert FORMULAS.keys() == ACTIVATIONS.keys()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("activation", FORMULAS)
@torch.no_grad()
def test_the_network_by_its_formula(activation: Activation, bias: bool) -> None:
    torch.manual_seed(0)
    network = build_feed_forward(WIDTH, UNITS, activation, 0.0, bias).eval()
    for parameter in network.parameters():
        parameter.copy_(torch.randn_like(parameter))
    values = torch.randn(2, 3, WIDTH)
    formula, gated = FORMULAS[activation]
    assert {name.partition(".")[0] for name, _ in network.named_parameters()} == {"inner", "outer"} | (
        {"gate"} if gated else set()
    )
    for row, vector in enumerate(values.flatten(0, 1).tolist()):
        units = [formula(unit) for unit in dense(network.inner.weight, network.inner.bias, vector)]
        if gated:
            gate = dense(network.gate.weight, network.gate.bias, vector)
            units = [unit * open_by for unit, open_by in zip(units, gate, strict=True)]
        expected = torch.tensor(dense(network.outer.weight, network.outer.bias, units))
        torch.testing.assert_close(network(values).flatten(0, 1)[row], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("activation", ["relu", "swiglu"])
def test_units_are_dropped_in_training_alone(activation: Activation) -> None:
    torch.manual_seed(0)
    network = build_feed_forward(WIDTH, 400, activation, 0.5, True)
    values = torch.randn(WIDTH)
    assert not torch.equal(network.train()(values), network(values))
    assert torch.equal(network.eval()(values), network(values))
