"""The interface of objectives, and the learner, which joins an objective and the model that it trains."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from torch import Tensor, nn

from calque.batch import Batch
from calque.model import Seq2Seq


class Objective(ABC):
    """Base of objectives, the losses that training minimises.

    An objective calls the model: once or more often (`model(batch)`), or step by step (`model.start`, `model.step`).
    Random numbers must come from torch's generator, which a run saves and restores.
    """

    @abstractmethod
    def __call__(self, model: Seq2Seq, batch: Batch) -> Tensor:
        """Return the loss [B, T] of each target token, 0 at padding.

        The losses of a sentence must not depend on other sentences: an update is split into micro-batches, and the sum
        of all losses is divided by the number of target tokens of the whole update.
        """


class Learner(nn.Module):
    """A model and its objective; the training loop calls only this module."""

    def __init__(self, model: Seq2Seq, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self.objective = objective

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss [B, T] of each target token, 0 at padding."""
        return self.objective(self.model, batch)

    if TYPE_CHECKING:
        __call__ = forward
