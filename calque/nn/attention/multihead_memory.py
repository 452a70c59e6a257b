"""Multi-head attention (Vaswani et al. 2017) for a recurrent decoder: several products, each with values of its own."""

import math
from typing import Literal

from torch import Tensor, nn

from calque.config import NumHeads, WidthOrAuto
from calque.errors import UsageError
from calque.nn.attention.attention import Attention, AttentionContext, AttentionOptions, CoverageScore, History
from calque.nn.parts import Memory


class MultiHeadAttentionConfig(AttentionOptions):
    """Attend with several heads, each of which mixes its own projection of the memory."""

    kind: Literal["multi_head"] = "multi_head"
    """The attention."""
    heads: NumHeads = 4
    """Number of heads."""
    width: WidthOrAuto = 0
    """Width of all heads together; 0 takes the decoder's width."""

    def build(self, query_width: int, memory_width: int) -> Attention:
        """Build the attention; UsageError where the heads cannot share the width."""
        width = self.width or query_width
        if width % self.heads:
            name = "width" if self.width else "the decoder's width"
            raise UsageError(
                f"model.decoder.attention.heads: {name}, {width}, must be a multiple of heads, {self.heads};"
                " change one of them or set model.decoder.attention.width"
            )
        return MultiHeadMemoryAttention(self, query_width, memory_width)


class MultiHeadMemoryAttention(Attention):
    """Score by (W query) · (U memory) / √A in each head, mix V memory, and project back to the memory's width."""

    def __init__(self, config: MultiHeadAttentionConfig, query_width: int, memory_width: int) -> None:
        super().__init__(config)
        width = config.width or query_width
        self.heads = config.heads
        self.query = nn.Linear(query_width, width)
        # A bias of the keys would add the same to all scores of a query, which no normaliser sees.
        self.key = nn.Linear(memory_width, width, bias=False)
        self.value = nn.Linear(memory_width, width)
        self.output = nn.Linear(width, memory_width)
        self.coverage = CoverageScore(config.heads) if config.coverage else None

    def keys(self, states: Tensor) -> Tensor:
        """Project memory states [B, S, D] to keys [B, H, S, A], scaled."""
        keys = self._split(self.key(states))
        return keys / math.sqrt(keys.shape[-1])

    def start(self, memory: Memory) -> AttentionContext:
        """Project the memory once to keys and values, each [B, H, S, A]."""
        return AttentionContext(self.keys(memory.states), self._split(self.value(memory.states)), memory.mask)

    def score(self, query: Tensor, context: AttentionContext, history: History | None) -> Tensor:
        """Return scores [B, H, Q, S]; the coverage that all heads see is that of their mean."""
        scores = self._split(self.query(query)) @ context.keys.transpose(-1, -2)
        return scores if self.coverage is None else self.coverage(scores, history)

    def forward(
        self, query: Tensor, context: AttentionContext, history: History | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return (mixed memory [B, Q, D], weights [B, Q, S], the mean of the heads) for queries [B, Q, D]."""
        scores = self.score(query, context, history)
        weights = self.normalise(scores.masked_fill(~context.mask[:, None, None], float("-inf")))
        # [B, H, Q, S] @ [B, H, S, A] -> [B, H, Q, A] -> [B, Q, H · A]
        mixed = (weights.to(context.values.dtype) @ context.values).transpose(1, 2).flatten(2)
        return self.output(mixed), weights.mean(dim=1)

    def _split(self, values: Tensor) -> Tensor:
        # [B, N, H · A] -> [B, H, N, A]
        return values.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # type: ignore[no-any-return]
