"""Dense layers laid out for decoding, with few rows and weights that are read again at every step."""

import copy
import warnings
from collections.abc import Callable
from typing import TypeAlias, TypeVar

import torch
from torch import Tensor, nn

Part = TypeVar("Part", bound=nn.Module)
Dense: TypeAlias = Callable[[Tensor], Tensor]
"""Map [R, N] to [R, M]."""
DenseLayout: TypeAlias = Callable[[Tensor, Tensor | None], Dense]
"""Lay out weights [M, N] and a bias [M] or None."""


def transposed(weight: Tensor, bias: Tensor | None) -> Dense:
    """A layer stored as [N, M]: products of few rows read memory in order and are up to twice as fast."""
    weight = weight.detach().t().contiguous()
    if bias is None:
        return lambda values: values @ weight
    bias = bias.detach()
    return lambda values: torch.addmm(bias, values, weight)


def bf16(weight: Tensor, bias: Tensor | None) -> Dense:
    """A layer with weights, inputs and products rounded to bf16; the bias is added in fp32."""
    weight = weight.detach().t().to(torch.bfloat16).contiguous()
    bias = weight.new_zeros(weight.shape[1], dtype=torch.float32) if bias is None else bias.detach().float()
    return lambda values: (values.to(torch.bfloat16) @ weight).float().add_(bias)


def has_bf16() -> bool:
    """Return whether the processor has instructions for bf16; without them products in it are slower than in fp32."""
    return bool(torch.cpu._is_avx512_bf16_supported())


def int8(weight: Tensor, bias: Tensor | None) -> Dense:
    """A layer with weights in 8 bits and a scale for each of the M rows; inputs are rounded at each call.

    Inputs get 7 bits on processors without VNNI, whose sums of two products would overflow with 8.
    """
    weight = weight.detach().float()
    scales = row_scales(weight)
    zeros = torch.zeros_like(scales, dtype=torch.int64)
    with warnings.catch_warnings():
        # PyTorch plans to replace this form of 8-bit tensors; the tested version is pinned.
        warnings.simplefilter("ignore")
        narrow = torch.quantize_per_channel(weight, scales.double(), zeros, 0, torch.qint8)
    packed = torch.ops.quantized.linear_prepack(narrow, None if bias is None else bias.detach().float())
    few_bits = not _has_vnni()
    return lambda values: torch.ops.quantized.linear_dynamic(values, packed, few_bits)


def rounded(weight: Tensor, largest: int = 127) -> tuple[Tensor, Tensor]:
    """Round weights [M, N] to 8 bits of at most `largest`; return them and the scale [M] of each row."""
    scales = row_scales(weight, largest)
    return (weight / scales.unsqueeze(1)).round().to(torch.int8), scales


def row_scales(weight: Tensor, largest: int = 127) -> Tensor:
    """Return the divisor [M] of each row of weights [M, N] that makes its largest absolute value `largest`."""
    return weight.abs().amax(dim=1).clamp(min=1e-12) / largest


def _has_vnni() -> bool:
    return bool(torch.cpu._is_vnni_supported())


class _Dense(nn.Linear):
    """A module that replaces a linear layer of a model and shares its weights."""

    def __init__(self, linear: nn.Linear, layout: DenseLayout) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self.dense = layout(linear.weight, linear.bias)

    def forward(self, values: Tensor) -> Tensor:
        """Map [.., N] to [.., M]."""
        return self.dense(values.reshape(-1, self.in_features)).view(*values.shape[:-1], self.out_features)


def laid_out(part: Part, layout: DenseLayout) -> Part:
    """Return a copy of a part of a model with all its linear layers laid out; the rest shares its weights."""
    shared = {id(weight): weight for weight in part.parameters()}
    made = copy.deepcopy(part, dict(shared))
    for owner in list(made.modules()):
        for name, child in owner.named_children():
            if type(child) is nn.Linear:
                setattr(owner, name, _Dense(child, layout))
    # The model may be in training mode when it is copied; the copy only decodes.
    return made.eval()
