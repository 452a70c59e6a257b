"""Additive attention (Bahdanau et al. 2015), with coverage inside the network as See et al. 2017 have it."""

from typing import Literal

import torch
from torch import Tensor, nn

from calque.config import WidthOrAuto
from calque.nn.attention.attention import Attention, AttentionContext, AttentionOptions, History


class AdditiveAttentionConfig(AttentionOptions):
    """Score by a small network over query and memory."""

    kind: Literal["additive"] = "additive"
    """The attention."""
    width: WidthOrAuto = 0
    """Units of the scoring network; 0 takes the decoder's width."""

    def build(self, query_width: int, memory_width: int) -> Attention:
        """Build the attention."""
        return AdditiveAttention(self, query_width, memory_width)


class AdditiveAttention(Attention):
    """Score by v · tanh(W query + U memory), and + c · coverage inside."""

    def __init__(
        self, config: AdditiveAttentionConfig, query_width: int, memory_width: int, *, uses_history: bool = False
    ) -> None:
        super().__init__(config, uses_history=uses_history)
        width = config.width or query_width
        self.query = nn.Linear(query_width, width)
        self.key = nn.Linear(memory_width, width, bias=False)
        self.energy = nn.Parameter(torch.empty(width).uniform_(-(width**-0.5), width**-0.5))
        self.coverage = nn.Linear(1, width, bias=False) if config.coverage else None

    def keys(self, states: Tensor) -> Tensor:
        """Project memory states to the units of the scoring network."""
        return self.key(states)  # type: ignore[no-any-return]

    def units(self, query: Tensor, context: AttentionContext, history: History | None) -> Tensor:
        """Return what goes into the tanh [B, Q, S, A]."""
        # [B, Q, 1, A] + [B, 1, S, A] -> [B, Q, S, A]
        units = self.query(query).unsqueeze(2) + context.keys.unsqueeze(1)
        if self.coverage is None:
            return units  # type: ignore[no-any-return]
        assert history is not None, "coverage needs a history"
        return units + self.coverage(history.total.unsqueeze(-1))  # type: ignore[no-any-return]

    def score(self, query: Tensor, context: AttentionContext, history: History | None) -> Tensor:
        """Return scores [B, Q, S]."""
        return torch.tanh(self.units(query, context, history)) @ self.energy
