"""What an objective promises, and the learner that joins it with the model that it trains."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from calque.batch import Batch
from calque.model import Seq2Seq


class Objective(ABC):
    """What training makes small.

    The objective calls the model: once (`model(batch)`), more often, or step by step (`model.start`, `model.step`).
    Random draws come from torch's generator, which a run saves and restores.
    """

    @abstractmethod
    def __call__(self, model: Seq2Seq, batch: Batch) -> Tensor:
        """Return the loss [B, T] of each target token, 0 at padding.

        Losses of different sentences do not depend on each other: an update is cut into micro-batches between
        sentences, and the sum of all losses is divided by the target tokens of the whole update.
        """


class Learner(nn.Module):
    """A model and the objective that it is trained by. The training loop calls this module and nothing below it."""

    def __init__(self, model: Seq2Seq, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self.objective = objective

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss [B, T] of each target token, 0 at padding."""
        return self.objective(self.model, batch)
