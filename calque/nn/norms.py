"""Normalisation of vectors: LayerNorm (Ba et al. 2016) and RMSNorm (Zhang & Sennrich 2019); before or after a sublayer.

Pre-norm: Xiong et al. 2020; post-norm: Vaswani et al. 2017.
"""

from collections.abc import Callable
from typing import Literal

from torch import Tensor, nn

Norm = Literal["layer", "rms"]
NormPosition = Literal["pre", "post"]
Residual = Callable[[nn.Module, Tensor], Tensor]


def build_norm(kind: Norm, width: int, epsilon: float, bias: bool) -> nn.Module:
    """Build the norm of vectors [.., D]; an RMSNorm has no bias."""
    if kind == "rms":
        return nn.RMSNorm(width, eps=epsilon)
    return nn.LayerNorm(width, eps=epsilon, bias=bias)


def normed(norm: nn.Module, values: Tensor) -> Tensor:
    """Return `values` normed."""
    return norm(values)  # type: ignore[no-any-return]


def as_is(norm: nn.Module, values: Tensor) -> Tensor:
    """Return `values` as they are."""
    return values


# What a sublayer does to its input, and to the sum of its input and its output.
RESIDUALS: dict[NormPosition, tuple[Residual, Residual]] = {"pre": (normed, as_is), "post": (as_is, normed)}
