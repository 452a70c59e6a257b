"""The feed-forward network of a Transformer layer, plain (Vaswani et al. 2017) or with a gate (Shazeer 2020)."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from calque.nn.dropout import Dropout
from calque.nn.init import glorot
from calque.nn.typed import Linear

Activation = Literal["relu", "gelu", "gelu_tanh", "silu", "swiglu", "geglu", "geglu_tanh"]
Function = Callable[[Tensor], Tensor]

gelu_tanh: Function = partial(nn.functional.gelu, approximate="tanh")
# The function, and whether its result is multiplied by a gate of as many units.
ACTIVATIONS: dict[Activation, tuple[Function, bool]] = {
    "relu": (torch.relu, False),
    "gelu": (nn.functional.gelu, False),
    "gelu_tanh": (gelu_tanh, False),
    "silu": (nn.functional.silu, False),
    "swiglu": (nn.functional.silu, True),
    "geglu": (nn.functional.gelu, True),
    "geglu_tanh": (gelu_tanh, True),
}


class FeedForward(nn.Module):
    """Apply two dense layers with a function between them."""

    def __init__(self, width: int, units: int, function: Function, dropout: float, bias: bool) -> None:
        super().__init__()
        self.inner = Linear(width, units, bias=bias)
        self.outer = Linear(units, width, bias=bias)
        glorot(self.inner)
        glorot(self.outer)
        self.function = function
        self.dropout = Dropout(dropout)

    def forward(self, values: Tensor) -> Tensor:
        """Map [.., D] to [.., D]."""
        return self.outer(self.dropout(self.function(self.inner(values))))

    if TYPE_CHECKING:
        __call__ = forward


class GatedFeedForward(FeedForward):
    """Multiply the units of the function by a linear gate."""

    def __init__(self, width: int, units: int, function: Function, dropout: float, bias: bool) -> None:
        super().__init__(width, units, function, dropout, bias)
        self.gate = Linear(width, units, bias=bias)
        glorot(self.gate)

    def forward(self, values: Tensor) -> Tensor:
        """Map [.., D] to [.., D]."""
        units = self.function(self.inner(values)) * self.gate(values)
        return self.outer(self.dropout(units))


def build_feed_forward(width: int, units: int, activation: Activation, dropout: float, bias: bool) -> FeedForward:
    """Build the network of an activation."""
    function, gated = ACTIVATIONS[activation]
    return (GatedFeedForward if gated else FeedForward)(width, units, function, dropout, bias)
