"""Dropout from random bytes: eight decisions for each 64-bit draw of the saved generator.

PyTorch's own mask costs a Bernoulli draw an element, a quarter of a training step on a CPU.
"""

import torch
from torch import Tensor, nn


class Dropout(nn.Module):
    """Zero each element with probability `p`, rounded to 1/256, and scale the rest by the realised probability."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.threshold = round(p * 256)
        assert 0 <= self.threshold < 256, f"dropout of {p} leaves nothing"

    def forward(self, values: Tensor) -> Tensor:
        """Return `values`, unchanged in evaluation."""
        if not self.training or self.threshold == 0:
            return values
        keep = keep_mask(values.shape, self.threshold, values.device)
        # Products with a mask of the values' own type are many times as fast as with one of bool.
        return values * (keep.to(values.dtype) * (256 / (256 - self.threshold)))

    def extra_repr(self) -> str:
        """Show the realised probability."""
        return f"p={self.threshold / 256:.4f}"


class AddDropped(nn.Module):
    """Add what a sublayer gives, with dropout, to what went in: one pass over memory instead of three."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.threshold = round(p * 256)

    def forward(self, values: Tensor, change: Tensor) -> Tensor:
        """Return values + dropout(change)."""
        if not self.training or self.threshold == 0:
            return values + change
        keep = keep_mask(change.shape, self.threshold, change.device)
        return torch.addcmul(values, change, keep.to(change.dtype), value=256 / (256 - self.threshold))


def keep_mask(shape: torch.Size, threshold: int, device: torch.device) -> Tensor:
    """Return a mask [shape] bool, true where a random byte is at least `threshold`."""
    count = shape.numel()
    words = torch.empty((count + 7) // 8, dtype=torch.int64, device=device)
    # The full range, sign bit included: every byte of a word is uniform.
    words.random_(-(2**63), None)
    return (words.view(torch.uint8)[:count] >= threshold).view(shape)
