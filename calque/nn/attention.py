"""What every attention of a recurrent decoder shares: keys made once, scores, a normaliser, the mixed memory.

A query axis [B, Q] holds target positions in training and the rows of a beam in search. An attention that looks at
what was attended before (coverage, location) keeps a history and is run one position after the other.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from calque.config import Config
from calque.nn.normalisers import NORMALISERS
from calque.nn.parts import Memory


class AttentionOptions(Config):
    """Share the fields of all attentions; `build` of a kind makes the part."""

    normaliser: Literal["softmax", "sparsemax", "entmax"] = "softmax"
    """From scores to weights: softmax, or sparsemax and entmax (1.5), which leave most positions at exactly 0."""
    coverage: bool = False
    """Show the score how much each position has been attended so far (See et al. 2017)."""
    coverage_loss: float = Field(default=0.0, ge=0)
    """Weight of the loss for attending again what was attended before (See et al. 2017 take 1)."""

    def build(self, query_width: int, memory_width: int) -> "Attention":
        """Build the attention for queries and memories of these widths."""
        raise NotImplementedError


@dataclass(frozen=True)
class AttentionContext:
    """Hold what is fixed per source: `keys` [B, .., S, A], `values` [B, .., S, D], `mask` [B, S]."""

    keys: Tensor
    values: Tensor
    mask: Tensor


@dataclass(frozen=True)
class History:
    """Hold the weights given so far, of R rows: their sum `total` and the step before's `last`, each [R, S]."""

    total: Tensor
    last: Tensor


class Attention(nn.Module):
    """Mix the memory by normalised scores; a kind says how keys and scores are made."""

    def __init__(self, options: AttentionOptions, *, uses_history: bool = False) -> None:
        super().__init__()
        self.normalise = NORMALISERS[options.normaliser]
        self.has_coverage = options.coverage
        self.coverage_loss = options.coverage_loss
        # With a history positions wait for each other: no parallel pass over the target.
        self.uses_history = uses_history or options.coverage

    def keys(self, states: Tensor) -> Tensor:
        """Project memory states [B, S, D] to keys [B, S, A]."""
        return states

    def score(self, query: Tensor, context: AttentionContext, history: History | None) -> Tensor:
        """Return scores [B, Q, S] of queries [B, Q, D]; a history has rows [B, Q, S]."""
        raise NotImplementedError

    def start(self, memory: Memory) -> AttentionContext:
        """Project the memory once."""
        return AttentionContext(self.keys(memory.states), memory.states, memory.mask)

    def first(self, context: AttentionContext) -> History | None:
        """Return the history of B rows that have attended to nothing yet, or None where none is kept."""
        if not self.uses_history:
            return None
        nothing = torch.zeros_like(context.mask, dtype=context.values.dtype)
        return History(nothing, nothing)

    def forward(
        self, query: Tensor, context: AttentionContext, history: History | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return (mixed memory [B, Q, D], weights [B, Q, S]) for queries [B, Q, D]."""
        scores = self.score(query, context, history).masked_fill(~context.mask.unsqueeze(1), float("-inf"))
        weights = self.normalise(scores)
        return weights @ context.values, weights


class CoverageScore(nn.Module):
    """Add a learned multiple of the coverage to a score that is a product."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, scores: Tensor, history: History | None) -> Tensor:
        """Return scores [B, Q, S] with the coverage [B, Q, S] weighed in."""
        assert history is not None, "coverage needs a history"
        return scores + self.weight * history.total


def remember(history: History, weights: Tensor) -> History:
    """Return the history of R rows after weights [R, S]."""
    return History(history.total + weights, weights)


def repetition(weights: Tensor, before: Tensor) -> Tensor:
    """Return how much is attended again [..]: the sum of min(weights, what was attended before), each [.., S]."""
    return torch.minimum(weights, before).sum(dim=-1)
