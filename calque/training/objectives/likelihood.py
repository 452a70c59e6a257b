"""The negative log-likelihood of the target, plain or smoothed (Szegedy et al. 2016)."""

from typing import Literal

from torch import Tensor

from calque.batch import Batch
from calque.config import Config
from calque.model import Seq2Seq
from calque.training.objectives.objective import Objective


class LikelihoodConfig(Config):
    """Maximise the likelihood of the target."""

    kind: Literal["likelihood"] = "likelihood"
    """Negative log-likelihood of the target."""

    def build(self, label_smoothing: float) -> Objective:
        """Build the objective."""
        return Likelihood(label_smoothing)


class Likelihood(Objective):
    """The negative log-likelihood, of which a share of `smoothing` is spread over the vocabulary."""

    def __init__(self, smoothing: float = 0.0) -> None:
        self.smoothing = smoothing

    def __call__(self, model: Seq2Seq, batch: Batch) -> Tensor:
        """Return the loss [B, T] of each target token, 0 at padding."""
        return model.losses(batch, self.smoothing)
