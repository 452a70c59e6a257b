"""Attention by products of query and memory: dot and general (Luong et al. 2015), scaled dot (Vaswani et al. 2017)."""

import math
from typing import Literal

from torch import Tensor

from calque.errors import UsageError
from calque.nn.attention.attention import Attention, AttentionContext, AttentionOptions, CoverageScore, History
from calque.nn.typed import Linear


class DotAttentionConfig(AttentionOptions):
    """Score by the product of query and memory, whose widths must be equal."""

    kind: Literal["dot"] = "dot"
    """Dot attention: scores by the product of query and memory, whose widths must be equal (Luong et al. 2015)."""

    def build(self, query_width: int, memory_width: int) -> Attention:
        """Build the attention; UsageError if the widths differ."""
        _check_widths(self.kind, query_width, memory_width)
        return DotAttention(self)


class ScaledDotAttentionConfig(AttentionOptions):
    """Score by the product of query and memory, whose widths must be equal, divided by √width."""

    kind: Literal["scaled_dot"] = "scaled_dot"
    """Scaled dot attention: scores as in dot attention, divided by √width (Vaswani et al. 2017)."""

    def build(self, query_width: int, memory_width: int) -> Attention:
        """Build the attention; UsageError if the widths differ."""
        _check_widths(self.kind, query_width, memory_width)
        return ScaledDotAttention(self)


class GeneralAttentionConfig(AttentionOptions):
    """Score by the product of query and projected memory."""

    kind: Literal["general"] = "general"
    """General attention: scores by the product of query and projected memory (Luong et al. 2015)."""

    def build(self, query_width: int, memory_width: int) -> Attention:
        """Build the attention."""
        return GeneralAttention(self, query_width, memory_width)


class DotAttention(Attention):
    """Score by query · memory."""

    def __init__(self, options: AttentionOptions) -> None:
        super().__init__(options)
        self.coverage = CoverageScore() if options.coverage else None

    def score(self, query: Tensor, context: AttentionContext, history: History | None) -> Tensor:
        """Return scores [B, Q, S]."""
        scores = query @ context.keys.transpose(1, 2)
        return scores if self.coverage is None else self.coverage(scores, history)


class ScaledDotAttention(DotAttention):
    """Score by query · memory / √D."""

    def keys(self, states: Tensor) -> Tensor:
        """Return the memory states divided by √D."""
        return states / math.sqrt(states.shape[-1])


class GeneralAttention(DotAttention):
    """Score by query · W memory."""

    def __init__(self, options: AttentionOptions, query_width: int, memory_width: int) -> None:
        super().__init__(options)
        self.key = Linear(memory_width, query_width, bias=False)

    def keys(self, states: Tensor) -> Tensor:
        """Project memory states to the query's width."""
        return self.key(states)


def _check_widths(kind: str, query_width: int, memory_width: int) -> None:
    if query_width != memory_width:
        raise UsageError(
            f"model.decoder.attention: {kind} needs equal widths, but the memory has {memory_width} and the decoder"
            f" {query_width}; make them equal or set kind = general"
        )
