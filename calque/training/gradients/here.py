"""The interface of gradients, and the class that computes them in this process.

The target tokens of all micro-batches of an update are summed first; then each loss is divided by the sum.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch

from calque import rows
from calque.batch import Batch
from calque.training.config import TrainConfig
from calque.training.objectives.objective import Learner


class Gradients(ABC):
    """Compute the gradients of an update, and add them to the gradients of the parameters."""

    @abstractmethod
    def accumulate(self, micro_batches: Sequence[Batch], tokens: int) -> float:
        """Add the gradients of some micro-batches of an update of `tokens`; return their share of its mean loss."""


class GradientsHere(Gradients):
    """Compute the gradients in this process."""

    def __init__(self, learner: Learner, config: TrainConfig) -> None:
        self.learner, self.config = learner, config

    def accumulate(self, micro_batches: Sequence[Batch], tokens: int) -> float:
        """Add the gradients of some micro-batches of an update of `tokens`; return their share of its mean loss."""
        self.learner.train()
        total = 0.0
        for micro_batch in micro_batches:
            with arithmetic(self.config):
                loss = self.learner(rows.to(micro_batch, self.config.device)).sum() / tokens
            loss.backward()
            total += float(loss.detach())
        return total


def count_tokens(micro_batches: Sequence[Batch]) -> int:
    """Return the number of target tokens of all micro-batches, without padding."""
    return sum(int(micro_batch.target.mask.sum()) for micro_batch in micro_batches)


def arithmetic(config: TrainConfig) -> AbstractContextManager[object]:
    """Return the context in which matrix products run in the recipe's precision."""
    if config.precision == "bf16":
        return torch.autocast(config.device, dtype=torch.bfloat16)
    return nullcontext()
