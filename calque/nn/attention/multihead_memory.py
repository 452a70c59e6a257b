"""Multi-head attention (Vaswani et al. 2017) for a recurrent decoder."""

import math
from typing import Literal

from torch import Tensor

from calque.config import NumHeads, WidthOrAuto
from calque.errors import UsageError
from calque.nn.attention.attention import Attention, AttentionContext, AttentionOptions, CoverageScore, History
from calque.nn.parts import Memory
from calque.nn.typed import Linear


class MultiHeadAttentionConfig(AttentionOptions):
    """Attend with several heads, each with its own projection of the memory."""

    kind: Literal["multi_head"] = "multi_head"
    """Multi-head attention: several scaled products, each with its own projections (Vaswani et al. 2017)."""
    heads: NumHeads = 4
    """Number of heads."""
    width: WidthOrAuto = 0
    """Width of all heads together; 0: the decoder's width."""

    def build(self, query_width: int, memory_width: int) -> Attention:
        """Build the attention; UsageError if the width is not a multiple of the heads."""
        width = self.width or query_width
        if width % self.heads:
            name = "width" if self.width else "the decoder's width"
            raise UsageError(
                f"model.decoder.attention.heads: {name}, {width}, must be a multiple of heads, {self.heads};"
                " change one of them or set model.decoder.attention.width"
            )
        return MultiHeadMemoryAttention(self, query_width, memory_width)


class MultiHeadMemoryAttention(Attention):
    """Score by (W query) · (U memory) / √A in each head, mix V memory, and project to the memory's width."""

    def __init__(self, config: MultiHeadAttentionConfig, query_width: int, memory_width: int) -> None:
        super().__init__(config)
        width = config.width or query_width
        self.heads = config.heads
        self.query = Linear(query_width, width)
        # A bias of the keys would add the same number to all scores of a query, which changes no weights.
        self.key = Linear(memory_width, width, bias=False)
        self.value = Linear(memory_width, width)
        self.output = Linear(width, memory_width)
        self.coverage = CoverageScore(config.heads) if config.coverage else None

    def keys(self, states: Tensor) -> Tensor:
        """Project memory states [B, S, D] to keys [B, H, S, A], scaled."""
        keys = self._split(self.key(states))
        return keys / math.sqrt(keys.shape[-1])

    def start(self, memory: Memory) -> AttentionContext:
        """Return keys and values of the memory, each [B, H, S, A]."""
        return AttentionContext(self.keys(memory.states), self._split(self.value(memory.states)), memory.mask)

    def score(self, query: Tensor, context: AttentionContext, history: History | None) -> Tensor:
        """Return scores [B, H, Q, S]; all heads read the coverage of their mean."""
        scores = self._split(self.query(query)) @ context.keys.transpose(-1, -2)
        return scores if self.coverage is None else self.coverage(scores, history)

    def forward(
        self, query: Tensor, context: AttentionContext, history: History | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return (mixed memory [B, Q, D], mean weights of the heads [B, Q, S]) for queries [B, Q, D]."""
        scores = self.score(query, context, history)
        weights = self.normalise(scores.masked_fill(~context.mask[:, None, None], float("-inf")))
        # [B, H, Q, S] @ [B, H, S, A] -> [B, H, Q, A] -> [B, Q, H · A]
        mixed = (weights.to(context.values.dtype) @ context.values).transpose(1, 2).flatten(2)
        return self.output(mixed), weights.mean(dim=1)

    def _split(self, values: Tensor) -> Tensor:
        # [B, N, H · A] -> [B, H, N, A]
        heads: Tensor = values.unflatten(-1, (self.heads, -1))
        return heads.transpose(1, 2)
