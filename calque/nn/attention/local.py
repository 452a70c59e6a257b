"""Local attention with a predicted position (Luong et al. 2015, local-p): a window of the memory for each query.

Weights in the window are those of general attention, multiplied by a Gaussian around the position.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from calque.nn.attention.attention import Attention, AttentionContext, AttentionOptions, History
from calque.nn.attention.dot import GeneralAttention
from calque.nn.typed import Linear


class LocalAttentionConfig(AttentionOptions):
    """Attend within a window around a position that the decoder predicts."""

    kind: Literal["local"] = "local"
    """Local attention: general attention in a window around a predicted position (Luong et al. 2015)."""
    window: int = Field(default=10, ge=1, le=100_000)
    """Positions in the window on each side of the predicted one; twice the standard deviation of the Gaussian."""

    def build(self, query_width: int, memory_width: int) -> Attention:
        """Build the attention."""
        return LocalAttention(self, query_width, memory_width)


class LocalAttention(GeneralAttention):
    """Multiply general attention within p ± D by exp(−(s − p)² / 2σ²), where σ = D / 2, for positions s from 0.

    The weights sum to less than one, as in the paper.
    """

    def __init__(self, config: LocalAttentionConfig, query_width: int, memory_width: int) -> None:
        super().__init__(config, query_width, memory_width)
        self.window = config.window
        self.inner = Linear(query_width, query_width, bias=False)
        self.position = Linear(query_width, 1, bias=False)

    def centre(self, query: Tensor, mask: Tensor) -> Tensor:
        """Return the position p = length · sigmoid(v · tanh(W query)) [B, Q, 1] for each query."""
        # In fp32: half precision cannot distinguish the positions of a long sentence.
        share = torch.sigmoid(self.position(torch.tanh(self.inner(query))).float())
        return mask.sum(dim=1)[:, None, None] * share

    def weigh(self, query: Tensor, context: AttentionContext, history: History | None) -> Tensor:
        """Return weights [B, Q, S], exactly 0 outside the window."""
        # [S] - [B, Q, 1] -> [B, Q, S]
        distance = torch.arange(context.mask.shape[1], device=query.device) - self.centre(query, context.mask)
        # Since p is at most the length and the window at least 1, the window is never empty.
        within = context.mask.unsqueeze(1) & (distance.abs() <= self.window)
        scores = self.score(query, context, history).masked_fill(~within, float("-inf"))
        return self.normalise(scores) * torch.exp(-2 * (distance / self.window).square())
