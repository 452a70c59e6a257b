"""Dropout from random bytes: each 64-bit number of torch's generator serves for eight elements.

PyTorch's own dropout draws a Bernoulli number per element, which takes a quarter of a training step on a CPU.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn


class Dropout(nn.Module):
    """Set each element to 0 with probability `p`, rounded to 1/256; divide the others by 1 − p."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.threshold = round(p * 256)
        assert 0 <= self.threshold < 256, f"dropout of {p} would set all elements to 0"

    def forward(self, values: Tensor) -> Tensor:
        """Return `values` with dropout; in evaluation, unchanged."""
        if not self.training or self.threshold == 0:
            return values
        keep = keep_mask(values.shape, self.threshold, values.device)
        # Multiplying by a mask of the values' type is many times faster than by a mask of bool.
        return values * (keep.to(values.dtype) * (256 / (256 - self.threshold)))

    if TYPE_CHECKING:
        __call__ = forward

    def extra_repr(self) -> str:
        """Return the rounded probability for `repr`."""
        return f"p={self.threshold / 256:.4f}"


class AddDropped(nn.Module):
    """Add the output of a sublayer, with dropout, to its input: one pass over memory instead of three."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.threshold = round(p * 256)

    def forward(self, values: Tensor, change: Tensor) -> Tensor:
        """Return values + dropout(change)."""
        if not self.training or self.threshold == 0:
            return values + change
        keep = keep_mask(change.shape, self.threshold, change.device)
        return torch.addcmul(values, change, keep.to(change.dtype), value=256 / (256 - self.threshold))

    if TYPE_CHECKING:
        __call__ = forward


def keep_mask(shape: torch.Size, threshold: int, device: torch.device) -> Tensor:
    """Return a mask of bool, true where a random byte is at least `threshold`."""
    count = shape.numel()
    words = torch.empty((count + 7) // 8, dtype=torch.int64, device=device)
    # From the full range, sign bit included, so that every byte is uniform.
    words.random_(-(2**63), None)
    return (words.view(torch.uint8)[:count] >= threshold).view(shape)
