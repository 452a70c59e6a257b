"""Additive attention (Bahdanau et al. 2015), with coverage inside the network as in See et al. 2017."""

from typing import Literal

import torch
from torch import Tensor, nn

from calque.config import WidthOrAuto
from calque.nn.attention.attention import Attention, AttentionContext, AttentionOptions, History
from calque.nn.typed import Linear


class AdditiveOptions(AttentionOptions):
    """Base of the configs of attentions with a scoring network."""

    kind: str
    """The attention."""
    width: WidthOrAuto = 0
    """Units of the scoring network; 0: the decoder's width."""


class AdditiveAttentionConfig(AdditiveOptions):
    """Score by a small network of query and memory."""

    kind: Literal["additive"] = "additive"
    """Additive attention: scores by a small network of query and memory (Bahdanau et al. 2015)."""

    def build(self, query_width: int, memory_width: int) -> Attention:
        """Build the attention."""
        return AdditiveAttention(self, query_width, memory_width)


class AdditiveAttention(Attention):
    """Score by v · tanh(W query + U memory), with coverage v · tanh(W query + U memory + c · coverage)."""

    def __init__(
        self, config: AdditiveOptions, query_width: int, memory_width: int, *, uses_history: bool = False
    ) -> None:
        super().__init__(config, uses_history=uses_history)
        width = config.width or query_width
        self.query = Linear(query_width, width)
        self.key = Linear(memory_width, width, bias=False)
        self.energy = nn.Parameter(torch.empty(width).uniform_(-(width**-0.5), width**-0.5))
        self.coverage = Linear(1, width, bias=False) if config.coverage else None

    def keys(self, states: Tensor) -> Tensor:
        """Project memory states to the units of the scoring network."""
        return self.key(states)

    def units(self, query: Tensor, context: AttentionContext, history: History | None) -> Tensor:
        """Return the argument [B, Q, S, A] of tanh."""
        # [B, Q, 1, A] + [B, 1, S, A] -> [B, Q, S, A]
        units = self.query(query).unsqueeze(2) + context.keys.unsqueeze(1)
        if self.coverage is None:
            return units
        assert history is not None, "coverage needs a history"
        return units + self.coverage(history.total.unsqueeze(-1))

    def score(self, query: Tensor, context: AttentionContext, history: History | None) -> Tensor:
        """Return scores [B, Q, S]."""
        return torch.tanh(self.units(query, context, history)) @ self.energy
