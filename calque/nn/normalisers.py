"""From attention scores to weights: softmax, and its sparse relatives."""

from collections.abc import Callable

from torch import Tensor


def softmax(scores: Tensor) -> Tensor:
    """Return weights [.., S] that sum to one, all positive where a score is finite."""
    return scores.softmax(dim=-1)


NORMALISERS: dict[str, Callable[[Tensor], Tensor]] = {"softmax": softmax}
