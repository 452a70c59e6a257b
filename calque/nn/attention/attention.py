"""What every attention of a recurrent decoder shares: keys made once, scores, a normaliser, the mixed memory.

A query axis [B, Q] holds target positions in training and the rows of a beam in search. An attention that looks at
what was attended before (coverage, location) keeps a history and is run one position after the other.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from calque.config import Config, LossWeight
from calque.nn.attention.normalisers import NORMALISERS
from calque.nn.parts import Memory


class AttentionOptions(Config):
    """Share the fields of all attentions; `build` of a kind makes the part."""

    normaliser: Literal["softmax", "sparsemax", "entmax"] = "softmax"
    """From scores to weights: softmax, or sparsemax and entmax (1.5), which leave most positions at exactly 0."""
    coverage: bool = False
    """Coverage: the score sees how much attention each position has received so far (See et al. 2017)."""
    coverage_loss: LossWeight = 0.0
    """Weight of the loss for attending again what was attended before (See et al. 2017: 1); needs no `coverage`."""

    def build(self, query_width: int, memory_width: int) -> "Attention":
        """Build the attention for queries and memories of these widths."""
        raise NotImplementedError


@dataclass(frozen=True)
class AttentionContext:
    """What is fixed per source: `keys` [B, .., S, A], `values` [B, .., S, D], `mask` [B, S]."""

    keys: Tensor
    values: Tensor
    mask: Tensor


@dataclass(frozen=True)
class History:
    """The weights given so far, of R rows: their sum `total` and the step before's `last`, each [R, S]."""

    total: Tensor
    last: Tensor


class Attention(nn.Module):
    """Mix the memory by normalised scores; a kind says how keys and scores are made."""

    def __init__(self, options: AttentionOptions, *, uses_history: bool = False) -> None:
        super().__init__()
        self.normalise = NORMALISERS[options.normaliser]
        self.coverage_loss = options.coverage_loss
        # Where scores look at the history, positions wait for each other: no parallel pass over the target.
        self.uses_history = uses_history or options.coverage

    def keys(self, states: Tensor) -> Tensor:
        """Project memory states [B, S, D] to keys [B, S, A]."""
        return states

    def score(self, query: Tensor, context: AttentionContext, history: History | None) -> Tensor:
        """Return scores [B, Q, S] of queries [B, Q, D], coverage weighed in; a history has rows [B, Q, S]."""
        raise NotImplementedError

    def weigh(self, query: Tensor, context: AttentionContext, history: History | None) -> Tensor:
        """Return weights [B, Q, S] of queries [B, Q, D], exactly 0 where the mask is false."""
        scores = self.score(query, context, history)
        return self.normalise(scores.masked_fill(~context.mask.unsqueeze(1), float("-inf")))

    def start(self, memory: Memory) -> AttentionContext:
        """Project the memory once."""
        return AttentionContext(self.keys(memory.states), memory.states, memory.mask)

    def first(self, context: AttentionContext) -> History | None:
        """Return the history of B rows that have attended to nothing yet, or None where score and loss need none."""
        if not self.uses_history and not self.coverage_loss:
            return None
        nothing = torch.zeros_like(context.mask, dtype=context.values.dtype)
        return History(nothing, nothing)

    def forward(
        self, query: Tensor, context: AttentionContext, history: History | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return (mixed memory [B, Q, D], weights [B, Q, S]) for queries [B, Q, D]."""
        weights = self.weigh(query, context, history)
        # Weights may be more precise than values (sparse normalisers do not compute in half precision).
        return weights.to(context.values.dtype) @ context.values, weights


class CoverageScore(nn.Module):
    """Add a learned multiple of the coverage to a score that is a product; each head has its own."""

    def __init__(self, num_heads: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_heads))

    def forward(self, scores: Tensor, history: History | None) -> Tensor:
        """Return scores [B, Q, S], or [B, H, Q, S] of H heads, with the coverage [B, Q, S] weighed in."""
        assert history is not None, "coverage needs a history"
        if scores.dim() == 3:
            return scores + self.weight * history.total
        return scores + self.weight[:, None, None] * history.total.unsqueeze(1)


def remember(history: History, weights: Tensor) -> History:
    """Return the history of R rows after weights [R, S]."""
    return History(history.total + weights, weights)


def repetition(weights: Tensor, before: Tensor) -> Tensor:
    """Return how much is attended again [..]: the sum of min(weights, what was attended before), each [.., S]."""
    return torch.minimum(weights, before).sum(dim=-1)


def attended_before(weights: Tensor) -> Tensor:
    """Return the sum of the weights [B, T, S] of all earlier positions: the history of each, where all are known."""
    return nn.functional.pad(weights[:, :-1].cumsum(dim=1), (0, 0, 1, 0))
