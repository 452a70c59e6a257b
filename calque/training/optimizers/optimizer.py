"""What the training loop asks of an optimizer beyond torch's interface."""

from contextlib import AbstractContextManager, nullcontext

import torch


class Optimizer(torch.optim.Optimizer):
    """An optimizer of torch that also names the weights that answer.

    A parameter group may hold a `multiplier`: the loop sets its `lr` to the schedule's rate times it before each
    update. All that a group holds besides its parameters is saved and restored with the state.
    """

    def answering_weights(self) -> AbstractContextManager[None]:
        """Hold the weights that validate and are saved as the model while entered; then those that are trained.

        They are the same unless an optimizer overrides this method, as one that averages weights does.
        """
        return nullcontext()
