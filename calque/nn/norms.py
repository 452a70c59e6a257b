"""Normalisation of vectors, LayerNorm (Ba et al. 2016) or RMSNorm (Zhang & Sennrich 2019), before or after a sublayer.

Pre-norm: Xiong et al. 2020; post-norm: Vaswani et al. 2017.
"""

from collections.abc import Callable
from typing import Literal, TypeAlias

from torch import Tensor

from calque.nn.typed import LayerNorm, RMSNorm

Norm = Literal["layer", "rms"]
NormPosition = Literal["pre", "post"]
NormModule: TypeAlias = LayerNorm | RMSNorm
Residual = Callable[[NormModule, Tensor], Tensor]


def build_norm(kind: Norm, width: int, epsilon: float, bias: bool) -> NormModule:
    """Build the norm of vectors [.., D]; an RMSNorm has no bias."""
    if kind == "rms":
        return RMSNorm(width, eps=epsilon)
    return LayerNorm(width, eps=epsilon, bias=bias)


def normed(norm: NormModule, values: Tensor) -> Tensor:
    """Return the normalised `values`."""
    return norm(values)


def as_is(norm: NormModule, values: Tensor) -> Tensor:
    """Return `values` unchanged."""
    return values


# For the input of a sublayer, and for the sum of its input and its output.
RESIDUALS: dict[NormPosition, tuple[Residual, Residual]] = {"pre": (normed, as_is), "post": (as_is, normed)}
