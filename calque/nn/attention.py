"""Attention of recurrent decoders: none, dot and general (Luong et al. 2015), additive (Bahdanau et al. 2015).

A query axis [B, Q] holds target positions in training and the rows of a beam in search; keys are projected once.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from calque.config import Config
from calque.errors import UsageError
from calque.nn.parts import Memory


class NoAttentionConfig(Config):
    """Attend to nothing: the decoder sees the source through its first state alone."""

    kind: Literal["none"] = "none"
    """The attention."""


class DotAttentionConfig(Config):
    """Score by the product of query and memory; both must be of one width."""

    kind: Literal["dot"] = "dot"
    """The attention."""


class GeneralAttentionConfig(Config):
    """Score by the product of query and projected memory."""

    kind: Literal["general"] = "general"
    """The attention."""


class AdditiveAttentionConfig(Config):
    """Score by a small network over query and memory."""

    kind: Literal["additive"] = "additive"
    """The attention."""
    width: int = 0
    """Units of the scoring network; 0 takes the decoder's width."""


AttentionConfig = Annotated[
    NoAttentionConfig | DotAttentionConfig | GeneralAttentionConfig | AdditiveAttentionConfig,
    Field(discriminator="kind"),
]


@dataclass(frozen=True)
class AttentionContext:
    """Hold what is fixed per source: `keys` [B, S, A], `values` [B, S, D], `mask` [B, S]."""

    keys: Tensor
    values: Tensor
    mask: Tensor


class Attention(nn.Module):
    """Mix the memory by softmax of `score`; a subclass says how keys and scores are made."""

    def keys(self, states: Tensor) -> Tensor:
        """Project memory states [B, S, D] to keys [B, S, A]."""
        return states

    def score(self, query: Tensor, keys: Tensor) -> Tensor:
        """Return scores [B, Q, S] of queries [B, Q, D] against keys [B, S, A]."""
        return query @ keys.transpose(1, 2)

    def start(self, memory: Memory) -> AttentionContext:
        """Project the memory once."""
        return AttentionContext(self.keys(memory.states), memory.states, memory.mask)

    def forward(self, query: Tensor, context: AttentionContext) -> tuple[Tensor, Tensor]:
        """Return (mixed memory [B, Q, D], weights [B, Q, S]) for queries [B, Q, D]."""
        scores = self.score(query, context.keys).masked_fill(~context.mask.unsqueeze(1), float("-inf"))
        weights = scores.softmax(dim=-1)
        return weights @ context.values, weights


class GeneralAttention(Attention):
    """Score by query · W memory."""

    def __init__(self, query_width: int, memory_width: int) -> None:
        super().__init__()
        self.key = nn.Linear(memory_width, query_width, bias=False)

    def keys(self, states: Tensor) -> Tensor:
        """Project memory states to the query's width."""
        return self.key(states)  # type: ignore[no-any-return]


class AdditiveAttention(Attention):
    """Score by v · tanh(W query + U memory)."""

    def __init__(self, query_width: int, memory_width: int, width: int) -> None:
        super().__init__()
        self.query = nn.Linear(query_width, width)
        self.key = nn.Linear(memory_width, width, bias=False)
        self.energy = nn.Parameter(torch.empty(width).uniform_(-(width**-0.5), width**-0.5))

    def keys(self, states: Tensor) -> Tensor:
        """Project memory states to the units of the scoring network."""
        return self.key(states)  # type: ignore[no-any-return]

    def score(self, query: Tensor, keys: Tensor) -> Tensor:
        """Return scores [B, Q, S]."""
        # [B, Q, 1, A] + [B, 1, S, A] -> [B, Q, S, A]
        return torch.tanh(self.query(query).unsqueeze(2) + keys.unsqueeze(1)) @ self.energy


def build_attention(config: AttentionConfig, query_width: int, memory_width: int) -> Attention | None:
    """Build the attention of a recurrent decoder, or None for none."""
    match config:
        case NoAttentionConfig():
            return None
        case DotAttentionConfig():
            if query_width != memory_width:
                raise UsageError(
                    f"model.decoder.attention: dot needs one width on both sides, the memory has {memory_width}"
                    f" and the decoder {query_width}; set them equal or take kind = general"
                )
            return Attention()
        case GeneralAttentionConfig():
            return GeneralAttention(query_width, memory_width)
        case AdditiveAttentionConfig():
            return AdditiveAttention(query_width, memory_width, config.width or query_width)
