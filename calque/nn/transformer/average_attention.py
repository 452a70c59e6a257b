"""Average attention in place of self-attention (Zhang et al. 2018, "Accelerating neural Transformer via an average
attention network"): a cumulative mean, a feed-forward network over it, and a gate; the state is one sum per row.
"""

from typing import Literal

import torch
from torch import Tensor

from calque.config import Config
from calque.nn.init import glorot
from calque.nn.transformer.config import TransformerConfig
from calque.nn.transformer.mixer import Mixer, Sight
from calque.nn.typed import Linear


class AverageAttentionConfig(Config):
    """Take the mean of all positions so far instead of self-attention."""

    kind: Literal["average"] = "average"
    """Mean of all positions so far, with a gate; its steps are faster than self-attention (Zhang et al. 2018)."""

    def build(self, config: TransformerConfig) -> Mixer:
        """Build the mixer of a layer."""
        return AverageAttention(config)


class AverageAttention(Mixer):
    """Return i · x_t + f · g_t, where g_t = FFN(mean of x up to t) and [i; f] = σ(W [x_t; g_t] + b)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.feed_forward = config.build_feed_forward()
        self.gate = Linear(2 * config.width, 2 * config.width, bias=config.bias)
        glorot(self.gate)

    def mix(self, values: Tensor, sight: Sight) -> Tensor:
        """Map [B, T, D] to [B, T, D]."""
        return self._gated(values, values.cumsum(dim=1), sight.position)

    def start(self, like: Tensor) -> Tensor:
        """Return empty sums [R, D]."""
        return like.new_zeros(like.shape[0], self.gate.in_features // 2)

    def step(self, values: Tensor, state: Tensor, sight: Sight) -> tuple[Tensor, Tensor]:
        """Map one position per row [R, 1, D]."""
        total = state + values.squeeze(1)
        return self._gated(values, total.unsqueeze(1), sight.position), total

    def _gated(self, values: Tensor, totals: Tensor, position: Tensor) -> Tensor:
        """Mix values and sums so far, each [.., T, D], at `position` [T] or [R, 1], which counts from 0."""
        means = self.feed_forward(totals / (position + 1).unsqueeze(-1))
        gates = torch.sigmoid(self.gate(torch.cat([values, means], dim=-1)))
        own, mean = gates.chunk(2, dim=-1)
        return own * values + mean * means
