"""The interface of optimizers, which extends torch's."""

import inspect
from contextlib import AbstractContextManager, nullcontext

import torch


class Optimizer(torch.optim.Optimizer):
    """Base of optimizers: one of torch that also selects the weights of the model that validates and answers.

    A parameter group may have a `multiplier`: before each update, the loop sets the group's `lr` to the scheduled rate
    times the multiplier. All other values of a group (numbers, strings, lists and tensors) are saved and restored too.

    Torch wraps the methods below for its compiler, and the first call of a wrapped method imports the compiler, which
    takes seconds; here they are unwrapped. Methods that a version of torch does not wrap stay unchanged.
    """

    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.Optimizer.zero_grad)
    state_dict = inspect.unwrap(torch.optim.Optimizer.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.Optimizer.load_state_dict)

    def answering_weights(self) -> AbstractContextManager[None]:
        """Return a context in which the model has the weights that validate and answer.

        By default they are the trained weights; an optimizer that averages weights overrides this method.
        """
        return nullcontext()
