"""Projection to a vocabulary and smoothed likelihood as one function that computes some positions at a time, to save
memory (Hsu et al. 2024, "Liger kernel"; Wijmans et al. 2025, "Cut your losses").
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from calque.nn.typed import Saved, apply

# Positions that are computed at once: enough for efficient products.
ROWS_AT_ONCE = 256


@dataclass(frozen=True)
class Projection:
    """The operands of the scores: `hidden` [N, D], `weight` [V, D], `bias` [V]."""

    hidden: Tensor
    weight: Tensor
    bias: Tensor


def projected_losses(projection: Projection, labels: Tensor, smoothing: float) -> Tensor:
    """Return the smoothed negative log-likelihood [N] of `labels` [N] in fp32; products follow autocast."""
    device = projection.hidden.device.type
    low = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else projection.hidden.dtype
    parts = (projection.hidden, projection.weight, projection.bias)
    return apply(_ProjectedLosses, *parts, labels, smoothing, low, torch.is_grad_enabled())


class _ProjectionSaved(Saved):
    types: tuple[torch.dtype, ...]
    smoothing: float


class _ProjectedLosses(Function):
    """Compute the gradients together with the losses, so that no product is computed twice."""

    @staticmethod
    def forward(
        ctx: _ProjectionSaved,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor,
        labels: Tensor,
        smoothing: float,
        low: torch.dtype,
        has_gradient: bool,
    ) -> Tensor:
        ctx.types, ctx.smoothing = (hidden.dtype, weight.dtype, bias.dtype), smoothing
        hidden, weight = hidden.to(low), weight.to(low)
        with torch.autocast(hidden.device.type, enabled=False):
            scores = _Scores(Projection(hidden, weight, bias), labels, smoothing)
            if not has_gradient:
                return scores.losses()
            losses, gradients = scores.losses_and_gradients(None)
        ctx.save_for_backward(hidden, weight, bias, labels, *gradients)
        return losses

    @staticmethod
    @once_differentiable
    def backward(ctx: _ProjectionSaved, upstream: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, labels, *gradients = ctx.saved_tensors
        first = upstream[:1]
        if bool((upstream == first).all()):
            # All positions have the same weight, as in a mean.
            gradients = [gradient * first for gradient in gradients]
        else:
            scores = _Scores(Projection(hidden, weight, bias), labels, ctx.smoothing)
            gradients = list(scores.losses_and_gradients(upstream)[1])
        return *(gradient.to(kind) for gradient, kind in zip(gradients, ctx.types, strict=True)), None, None, None, None


class _Scores:
    """Losses and gradients of the scores of all positions, some rows at a time."""

    def __init__(self, projection: Projection, labels: Tensor, smoothing: float) -> None:
        self.projection, self.labels, self.smoothing = projection, labels, smoothing
        # Half precision is too coarse for sums.
        self.precise = torch.promote_types(projection.hidden.dtype, torch.float32)
        # The mean score of a position is its product with the mean row.
        self.mean_row = projection.weight.to(self.precise).mean(dim=0)
        self.mean_bias = projection.bias.to(self.precise).mean()

    def losses(self) -> Tensor:
        """Return the losses [N]."""
        return torch.cat([self._judge(rows)[0] for rows in self._chunks()])

    def losses_and_gradients(self, upstream: Tensor | None) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """Return the losses [N] and the gradients of hidden, weight and bias for `upstream` [N], or 1."""
        hidden, weight = self.projection.hidden, self.projection.weight
        kind = hidden.dtype
        by_hidden = torch.empty(hidden.shape, dtype=self.precise, device=hidden.device)
        by_weight = torch.zeros(weight.shape, dtype=self.precise, device=hidden.device)
        by_bias = torch.zeros(weight.shape[0], dtype=self.precise, device=hidden.device)
        losses = []
        for rows in self._chunks():
            loss, shares = self._judge(rows)
            losses.append(loss)
            # The gradient of the likelihood: probabilities minus the target probability of each label.
            peak = self.labels[rows].unsqueeze(1)
            shares.scatter_add_(1, peak, torch.full_like(peak, self.smoothing - 1, dtype=shares.dtype))
            if upstream is not None:
                shares.mul_(upstream[rows].unsqueeze(1))
            by_bias += shares.sum(dim=0)
            shares = shares.to(kind)
            by_hidden[rows] = shares @ weight
            by_weight = _add_product(by_weight, shares.t(), hidden[rows])
        self._take_spread(by_hidden, by_weight, by_bias, upstream)
        return torch.cat(losses), (by_hidden, by_weight, by_bias)

    def _take_spread(self, by_hidden: Tensor, by_weight: Tensor, by_bias: Tensor, upstream: Tensor | None) -> None:
        """Subtract the share of smoothing; it is the same for all columns, so sums suffice."""
        hidden, size = self.projection.hidden.to(self.precise), by_bias.shape[0]
        if self.smoothing == 0:
            return
        if upstream is None:
            by_hidden.sub_(self.mean_row, alpha=self.smoothing)
            total, count = hidden.sum(dim=0), float(hidden.shape[0])
        else:
            by_hidden.sub_(upstream.unsqueeze(1) * self.mean_row, alpha=self.smoothing)
            total, count = upstream @ hidden, float(upstream.sum())
        by_weight.sub_(total, alpha=self.smoothing / size)
        by_bias.sub_(self.smoothing / size * count)

    def _chunks(self) -> list[slice]:
        count = self.labels.shape[0]
        return [slice(start, min(start + ROWS_AT_ONCE, count)) for start in range(0, count, ROWS_AT_ONCE)]

    def _judge(self, rows: slice) -> tuple[Tensor, Tensor]:
        """Return the losses [n] and the probabilities [n, V] of some positions."""
        hidden, labels = self.projection.hidden[rows], self.labels[rows]
        scores = torch.nn.functional.linear(hidden, self.projection.weight, self.projection.bias.to(hidden.dtype))
        scores = scores.to(self.precise)
        at_label = scores.gather(1, labels.unsqueeze(1)).squeeze(1)
        highest = scores.amax(dim=1)
        shares = torch.softmax(scores, dim=1, out=scores)
        # The highest probability has the most accurate logarithm.
        normaliser = highest - shares.amax(dim=1).log()
        wanted = at_label * (1 - self.smoothing)
        if self.smoothing:
            wanted = wanted + (hidden.to(self.precise) @ self.mean_row + self.mean_bias) * self.smoothing
        return normaliser - wanted, shares


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Add left @ right to total, in place; products in half precision are added in the type of total."""
    if left.dtype == total.dtype:
        return total.addmm_(left, right)
    return total.add_(left @ right)
