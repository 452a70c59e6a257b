"""The negative log-likelihood of labels, plain and smoothed.

Log-probabilities are [N, V + X], where V is the vocabulary and X the forms that a sentence can copy.
"""

from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from calque.nn.typed import Saved, apply


def likelihood(log_probs: Tensor, labels: Tensor) -> Tensor:
    """Return the negative log-likelihood [N] of labels [N]."""
    return -log_probs.gather(1, labels.unsqueeze(1)).squeeze(1)


def smoothed_likelihood(log_probs: Tensor, labels: Tensor, smoothing: float, vocab_size: int) -> Tensor:
    """Return the negative log-likelihood [N], of which a share of `smoothing` is spread over V (Szegedy et al. 2016).

    Copied forms have no share. With a `smoothing` of 0 the result is the plain likelihood.
    """
    if smoothing == 0:
        return likelihood(log_probs, labels)
    return apply(_SmoothedLikelihood, log_probs, labels, smoothing, vocab_size)


class _SmoothingSaved(Saved):
    smoothing: float
    size: int
    columns: int


class _SmoothedLikelihood(Function):
    """Compute the gradient [N, V + X] in one pass; torch's functions would need three."""

    @staticmethod
    def forward(ctx: _SmoothingSaved, log_probs: Tensor, labels: Tensor, smoothing: float, size: int) -> Tensor:
        ctx.save_for_backward(labels)
        ctx.smoothing, ctx.size, ctx.columns = smoothing, size, log_probs.shape[1]
        return (1 - smoothing) * likelihood(log_probs, labels) - smoothing * log_probs[:, :size].mean(dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: _SmoothingSaved, grad: Tensor) -> tuple[Tensor, None, None, None]:
        (labels,) = ctx.saved_tensors
        spread = (grad * (-ctx.smoothing / ctx.size)).unsqueeze(1).repeat(1, ctx.columns)
        spread[:, ctx.size :] = 0
        peak = (grad * (ctx.smoothing - 1)).unsqueeze(1)
        return spread.scatter_add_(1, labels.unsqueeze(1), peak), None, None, None
