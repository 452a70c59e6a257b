"""The gradients of one whole update, as the training loop computes them."""

from collections.abc import Sequence

from calque.batch import Batch
from calque.training.gradients.here import Gradients, count_tokens


def whole_update(gradients: Gradients, micro_batches: Sequence[Batch]) -> tuple[float, int]:
    """Compute the gradients of a whole update; return its mean loss per target token, and its target tokens."""
    tokens = count_tokens(micro_batches)
    return gradients.accumulate(micro_batches, tokens), tokens
