"""Objectives: from log-probabilities [N, V + X] and labels [N] to losses [N], a chunk of positions at a time.

V is the vocabulary, X the forms that a sentence can copy: `vocab_size` tells an objective where the one ends.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

Objective = Callable[[Tensor, Tensor, int], Tensor]


def likelihood(log_probs: Tensor, labels: Tensor, vocab_size: int = 0) -> Tensor:
    """Return the negative log-likelihood of each label."""
    return -log_probs.gather(1, labels.unsqueeze(1)).squeeze(1)


def smoothed(smoothing: float) -> Objective:
    """Return the likelihood with a share of the mass spread over V, never over copied forms (Szegedy et al. 2016)."""
    return SmoothedLikelihood(smoothing) if smoothing else likelihood


def smoothing_of(objective: Objective) -> float | None:
    """Return what share a smoothed likelihood spreads, 0 for the plain one, and None for another objective."""
    if isinstance(objective, SmoothedLikelihood):
        return objective.smoothing
    return 0.0 if objective is likelihood else None


@dataclass(frozen=True)
class SmoothedLikelihood:
    """Give the negative log-likelihood of labels of which a share, `smoothing`, is spread over V."""

    smoothing: float

    def __call__(self, log_probs: Tensor, labels: Tensor, vocab_size: int) -> Tensor:
        """Return the losses [N]."""
        return _SmoothedLikelihood.apply(log_probs, labels, self.smoothing, vocab_size)  # type: ignore[no-any-return, no-untyped-call]


class _SmoothedLikelihood(Function):
    """Write the gradient [N, V] in one pass; composed from library calls it takes three."""

    @staticmethod
    def forward(ctx: Any, log_probs: Tensor, labels: Tensor, smoothing: float, size: int) -> Tensor:
        ctx.save_for_backward(labels)
        ctx.smoothing, ctx.size, ctx.columns = smoothing, size, log_probs.shape[1]
        return (1 - smoothing) * likelihood(log_probs, labels) - smoothing * log_probs[:, :size].mean(dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        (labels,) = ctx.saved_tensors
        spread = (grad * (-ctx.smoothing / ctx.size)).unsqueeze(1).repeat(1, ctx.columns)
        spread[:, ctx.size :] = 0
        peak = (grad * (ctx.smoothing - 1)).unsqueeze(1)
        return spread.scatter_add_(1, labels.unsqueeze(1), peak), None, None, None
