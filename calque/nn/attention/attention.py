"""The base of the attentions of a recurrent decoder: keys, scores, a normaliser and the mixed memory.

The query axis [B, Q] is that of target positions in training, and that of the rows of a beam in search. An attention
whose scores depend on earlier weights (coverage, location) has a history and runs position by position.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from calque.config import Config, LossWeight
from calque.nn.attention.normalisers import NORMALISERS
from calque.nn.parts import Memory


class AttentionOptions(Config):
    """Base of the configs of attentions."""

    normaliser: Literal["softmax", "sparsemax", "entmax"] = "softmax"
    """Function from scores to weights: softmax; sparsemax and entmax (α = 1.5) set most weights to exactly 0."""
    coverage: bool = False
    """Whether scores depend on coverage, the attention that each position has received so far (See et al. 2017)."""
    coverage_loss: LossWeight = 0.0
    """Weight of the loss for attending to the same positions again (1 in See et al. 2017); does not need `coverage`."""

    def build(self, query_width: int, memory_width: int) -> "Attention":
        """Build the attention for queries and memories of these widths."""
        raise NotImplementedError


@dataclass(frozen=True)
class AttentionContext:
    """The projected memory of B sources: `keys` [B, .., S, A], `values` [B, .., S, D], `mask` [B, S]."""

    keys: Tensor
    values: Tensor
    mask: Tensor


@dataclass(frozen=True)
class History:
    """The weights of R rows so far: their sum `total`, and those of the `last` step, each [R, S]."""

    total: Tensor
    last: Tensor


class Attention(nn.Module):
    """Base of attentions, which mix the memory by normalised scores; a kind defines keys and scores."""

    def __init__(self, options: AttentionOptions, *, uses_history: bool = False) -> None:
        super().__init__()
        self.normalise = NORMALISERS[options.normaliser]
        self.coverage_loss = options.coverage_loss
        # If scores depend on the history, the positions of a target cannot be computed in parallel.
        self.uses_history = uses_history or options.coverage

    def keys(self, states: Tensor) -> Tensor:
        """Project memory states [B, S, D] to keys [B, S, A]."""
        return states

    def score(self, query: Tensor, context: AttentionContext, history: History | None) -> Tensor:
        """Return scores [B, Q, S] of queries [B, Q, D], coverage included; a history has rows [B, Q, S]."""
        raise NotImplementedError

    def weigh(self, query: Tensor, context: AttentionContext, history: History | None) -> Tensor:
        """Return weights [B, Q, S] of queries [B, Q, D]; they are exactly 0 where the mask is false."""
        scores = self.score(query, context, history)
        return self.normalise(scores.masked_fill(~context.mask.unsqueeze(1), float("-inf")))

    def start(self, memory: Memory) -> AttentionContext:
        """Return the projected memory."""
        return AttentionContext(self.keys(memory.states), memory.states, memory.mask)

    def first(self, context: AttentionContext) -> History | None:
        """Return the history of B rows before the first step, or None if neither scores nor the loss need one."""
        if not self.uses_history and not self.coverage_loss:
            return None
        nothing = torch.zeros_like(context.mask, dtype=context.values.dtype)
        return History(nothing, nothing)

    def forward(
        self, query: Tensor, context: AttentionContext, history: History | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return (mixed memory [B, Q, D], weights [B, Q, S]) for queries [B, Q, D]."""
        weights = self.weigh(query, context, history)
        # Sparse normalisers return fp32 even if values are in half precision.
        return weights.to(context.values.dtype) @ context.values, weights

    if TYPE_CHECKING:
        __call__ = forward


class CoverageScore(nn.Module):
    """Add a learned multiple of the coverage to scores that are products; each head has its own factor."""

    def __init__(self, num_heads: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_heads))

    def forward(self, scores: Tensor, history: History | None) -> Tensor:
        """Return scores [B, Q, S], or [B, H, Q, S] of H heads, plus the weighted coverage [B, Q, S]."""
        assert history is not None, "coverage needs a history"
        if scores.dim() == 3:
            return scores + self.weight * history.total
        return scores + self.weight[:, None, None] * history.total.unsqueeze(1)

    if TYPE_CHECKING:
        __call__ = forward


def remember(history: History, weights: Tensor) -> History:
    """Return the history of R rows with weights [R, S] added."""
    return History(history.total + weights, weights)


def repetition(weights: Tensor, before: Tensor) -> Tensor:
    """Return the repeated attention [..]: the sum over S of min(weights, before), each [.., S]."""
    return torch.minimum(weights, before).sum(dim=-1)


def attended_before(weights: Tensor) -> Tensor:
    """Return for each position the sum of the weights [B, T, S] of all earlier positions."""
    return nn.functional.pad(weights[:, :-1].cumsum(dim=1), (0, 0, 1, 0))
