"""What the training loop asks of an optimizer beyond torch's interface."""

import inspect
from contextlib import AbstractContextManager, nullcontext

import torch


class Optimizer(torch.optim.Optimizer):
    """An optimizer of torch that also names the weights that answer.

    A parameter group may hold a `multiplier`: the loop sets its `lr` to the schedule's rate times it before each
    update. All that a group holds besides its parameters is saved and restored with the state: numbers, texts, lists
    and tensors.

    Torch wraps the methods below for its compiler, and the first call of any of them imports it, which takes seconds;
    here they are unwrapped. A version of torch that wraps nothing leaves its methods as they are.
    """

    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.Optimizer.zero_grad)
    state_dict = inspect.unwrap(torch.optim.Optimizer.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.Optimizer.load_state_dict)

    def answering_weights(self) -> AbstractContextManager[None]:
        """The weights that validate and are saved as the model while entered; then those that are trained.

        They are the same unless an optimizer overrides this method, as one that averages weights does.
        """
        return nullcontext()
