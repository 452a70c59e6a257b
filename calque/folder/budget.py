"""A limit on the memory that the parts of a model may take while they are built."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


class TooLargeError(Exception):
    """A model creates more tensors, or larger ones, than its weights justify."""


_CREATE = (torch.empty, torch.zeros, torch.ones, torch.full, torch.randn, torch.rand, torch.arange, torch.eye)
_RANDOM = (Tensor.normal_, Tensor.uniform_)


class Budget(TorchFunctionMode):
    """Raise `TooLargeError` once the tensors created inside are more, or larger, than their budget.

    Random initial values are skipped: the model is only measured, or its weights are replaced.
    """

    def __init__(self, num_bytes: int, num_tensors: int) -> None:
        super().__init__()
        self.bytes_left, self.tensors_left = num_bytes, num_tensors

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func in _RANDOM:
            return args[0]
        if func not in _CREATE:
            return func(*args, **(kwargs or {}))
        self.tensors_left -= 1
        self._require(self.tensors_left >= 0 and _largest(args) <= self.bytes_left)
        created = func(*args, **(kwargs or {}))
        self.bytes_left -= created.nbytes
        self._require(self.bytes_left >= 0)
        return created

    def _require(self, fits: bool) -> None:
        if not fits:
            raise TooLargeError


def _largest(args: tuple[Any, ...]) -> int:
    """Return the product of the sizes in the arguments of a function that creates a tensor, or its largest number."""
    sizes = args[0] if args and isinstance(args[0], tuple | list) else args
    product = 1
    for size in sizes:
        product *= max(1, int(size)) if isinstance(size, int | float) else 1
    return product
