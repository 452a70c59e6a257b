"""Functions from scores to weights: softmax, sparsemax (Martins & Astudillo 2016), entmax (Peters et al. 2019).

The sparse functions find their threshold by sorting, so they are exact; the weight of a score of −inf is exactly 0.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from calque.nn.typed import Saved, apply

# If the highest score is 0, scores (for entmax, halved scores) of −1 or less have a weight of 0. Scores are raised to
# this number, which is lower, so that sums do not contain −inf.
WEIGHTLESS = -2.0


class _Sparsemax(torch.autograd.Function):
    """Project scores z onto the simplex: max(z − τ, 0)."""

    @staticmethod
    def forward(ctx: Saved, scores: Tensor) -> Tensor:
        """Return weights [.., S]; the threshold is that of the largest support whose scores all exceed it."""
        scores, ranked, ranks = _ranked(scores)
        sums = ranked.cumsum(dim=-1) - 1
        support = _count(ranks * ranked > sums)
        weights = (scores - sums.gather(-1, support - 1) / support).clamp_min(0)
        ctx.save_for_backward(weights)
        return weights

    @staticmethod
    def backward(ctx: Saved, *gradients: Tensor) -> Tensor:
        """Return (diag(s) − s sᵀ / |S|) g, where s is 1 on the support S (Martins & Astudillo 2016, eq. 10)."""
        (weights,) = ctx.saved_tensors
        return _through((weights > 0).to(weights.dtype), gradients[0])


class _Entmax(torch.autograd.Function):
    """Entmax with α = 1.5: max(z / 2 − τ, 0)²."""

    @staticmethod
    def forward(ctx: Saved, scores: Tensor) -> Tensor:
        """Return weights [.., S] by algorithm 2 of Peters et al. 2019."""
        scores, ranked, ranks = _ranked(scores / 2)
        mean = ranked.cumsum(dim=-1) / ranks
        spread = ranked.square().cumsum(dim=-1) - ranks * mean.square()
        thresholds = mean - ((1 - spread) / ranks).clamp_min(0).sqrt()
        support = _count(thresholds <= ranked)
        weights = (scores - thresholds.gather(-1, support - 1)).clamp_min(0).square()
        ctx.save_for_backward(weights)
        return weights

    @staticmethod
    def backward(ctx: Saved, *gradients: Tensor) -> Tensor:
        """Return (diag(s) − s sᵀ / Σ s) g, where s is the root of the weights (Peters et al. 2019, prop. 2)."""
        (weights,) = ctx.saved_tensors
        # The root has no slope at 0; positions without weight have no gradient.
        roots = weights.clamp_min(torch.finfo(weights.dtype).tiny).sqrt() * (weights > 0)
        return _through(roots, gradients[0])


def softmax(scores: Tensor) -> Tensor:
    """Return weights [.., S] that sum to one, positive for all finite scores."""
    return scores.softmax(dim=-1)


def sparsemax(scores: Tensor) -> Tensor:
    """Return weights [.., S] that sum to one, exactly 0 for scores far below the highest."""
    return apply(_Sparsemax, _precise(scores))


def entmax(scores: Tensor) -> Tensor:
    """Return weights [.., S] that sum to one, exactly 0 for low scores; between softmax and sparsemax."""
    return apply(_Entmax, _precise(scores))


def _precise(scores: Tensor) -> Tensor:
    # Half precision is too coarse for thresholds, which are differences of sums.
    return scores.to(torch.promote_types(scores.dtype, torch.float32))


def _ranked(scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return scores shifted so that the highest is 0, the same sorted and without −inf, and the ranks from 1."""
    scores = scores - scores.amax(dim=-1, keepdim=True)
    ranked = scores.sort(dim=-1, descending=True).values.clamp_min(WEIGHTLESS)
    return scores, ranked, torch.arange(1, scores.shape[-1] + 1, device=scores.device, dtype=scores.dtype)


def _count(has_weight: Tensor) -> Tensor:
    # [.., S] -> [.., 1]; with NaN scores nothing has weight, and the result must be NaN instead of an index error.
    return has_weight.sum(dim=-1, keepdim=True).clamp_min(1)


def _through(slopes: Tensor, gradient: Tensor) -> Tensor:
    """Return (diag(s) − s sᵀ / Σ s) g of slopes s and gradient g, each [.., S]."""
    moved = slopes * gradient
    return moved - slopes * (moved.sum(dim=-1, keepdim=True) / slopes.sum(dim=-1, keepdim=True))


NORMALISERS: dict[str, Callable[[Tensor], Tensor]] = {"softmax": softmax, "sparsemax": sparsemax, "entmax": entmax}
