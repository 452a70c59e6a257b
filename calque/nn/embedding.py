"""Token embeddings, and the sinusoidal positions of Vaswani et al. 2017."""

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn


class Embedding(nn.Module):
    """A table `weight` [V, D] of vectors of tokens, which are multiplied by √D unless `scaled` is false."""

    def __init__(self, vocab_size: int, width: int) -> None:
        super().__init__()
        # With this deviation, vectors scaled by √D have unit variance, and logits of a tied output are small.
        self.weight = nn.Parameter(torch.randn(vocab_size, width) * width**-0.5)

    @property
    def vocab_size(self) -> int:
        """Return V."""
        return self.weight.shape[0]

    def forward(self, tokens: Tensor, scaled: bool = True) -> Tensor:
        """Return vectors [.., D]."""
        vectors = nn.functional.embedding(tokens, self.weight)
        return vectors * math.sqrt(self.weight.shape[1]) if scaled else vectors

    if TYPE_CHECKING:
        __call__ = forward


def sinusoids(position: Tensor, width: int, closed: bool = False) -> Tensor:
    """Return the position vectors [.., D] of `position` [..], from 0: sines in the first half, cosines in the second.

    Frequencies are 10000^(−2i/D) for i < D/2; with `closed` they are spaced so that the last one is exactly 1/10000.
    """
    half = torch.arange(width // 2, device=position.device, dtype=torch.float32)
    slope = -math.log(10000.0) / max(1, width // 2 - 1) if closed else -2.0 * math.log(10000.0) / width
    angles = position.unsqueeze(-1).float() * torch.exp(half * slope)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
