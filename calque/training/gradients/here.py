"""The gradients of an update: what computes them, and the one that does so in this process.

Count first, then divide: the target tokens of all micro-batches of an update are summed before any loss is divided.
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
    """What computes the gradients of an update; they are added to those that the parameters have."""

    @abstractmethod
    def accumulate(self, micro_batches: Sequence[Batch], tokens: int) -> float:
        """Compute the gradients of some micro-batches of an update of `tokens`; return their share of its mean loss."""


class GradientsHere(Gradients):
    """Compute the gradients in this process."""

    def __init__(self, learner: Learner, config: TrainConfig) -> None:
        self.learner, self.config = learner, config

    def accumulate(self, micro_batches: Sequence[Batch], tokens: int) -> float:
        """Compute the gradients of some micro-batches of an update of `tokens`; return their share of its mean loss."""
        self.learner.train()
        total = 0.0
        for micro_batch in micro_batches:
            with arithmetic(self.config):
                loss = self.learner(rows.to(micro_batch, self.config.device)).sum() / tokens
            loss.backward()
            total += float(loss.detach())
        return total


def count_tokens(micro_batches: Sequence[Batch]) -> int:
    """Return the target tokens of all micro-batches, without padding."""
    return sum(int(micro_batch.target.mask.sum()) for micro_batch in micro_batches)


def arithmetic(config: TrainConfig) -> AbstractContextManager[object]:
    """Return the context in which matrix products run in the recipe's precision."""
    if config.precision == "bf16":
        return torch.autocast(config.device, dtype=torch.bfloat16)
    return nullcontext()
