"""Torch's layers with the types of their `forward` on a call, which torch declares to return Any.

At run time these names are torch's own classes, so calls take no longer and weights keep their names.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Generic, TypeVar, overload

from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import FunctionCtx

M = TypeVar("M", bound=nn.Module)

if TYPE_CHECKING:

    class Linear(nn.Linear):
        """A dense layer."""

        def __call__(self, values: Tensor) -> Tensor:
            """Map [.., D] to [.., D']."""

    class LayerNorm(nn.LayerNorm):
        """A LayerNorm."""

        def __call__(self, values: Tensor) -> Tensor:
            """Normalise [.., D]."""

    class RMSNorm(nn.RMSNorm):
        """An RMSNorm."""

        def __call__(self, values: Tensor) -> Tensor:
            """Normalise [.., D]."""

    class Identity(nn.Identity):
        """A module that changes nothing."""

        def __call__(self, values: Tensor) -> Tensor:
            """Return `values`."""

    class Conv1d(nn.Conv1d):
        """A convolution over one dimension."""

        def __call__(self, values: Tensor) -> Tensor:
            """Map [B, C, S] to [B, C', S']."""

    class ModuleList(nn.ModuleList, Generic[M]):
        """A list of modules of one type."""

        def __init__(self, modules: Iterable[M]) -> None: ...

        def __iter__(self) -> Iterator[M]: ...

        @overload
        def __getitem__(self, index: slice, /) -> nn.ModuleList: ...

        @overload
        def __getitem__(self, index: int, /) -> M: ...

        def __getitem__(self, index: int | slice, /) -> M | nn.ModuleList: ...

else:
    Linear, LayerNorm, RMSNorm, Identity, Conv1d = nn.Linear, nn.LayerNorm, nn.RMSNorm, nn.Identity, nn.Conv1d
    ModuleList = nn.ModuleList


class Saved(FunctionCtx):
    """The context of an autograd function: torch adds the tensors that `forward` has saved."""

    saved_tensors: tuple[Tensor, ...]


def apply(function: type[Function], *arguments: object) -> Tensor:
    """Apply an autograd function that returns one tensor."""
    result: Tensor = function.apply(*arguments)
    return result
