"""An engine with its own layout of the weights, which follows the model when the model's weights change.

A new layout takes some milliseconds; detecting a change takes some microseconds for each batch.
"""

import copy
import ctypes
from collections.abc import Callable, Sequence
from itertools import chain
from operator import methodcaller
from typing import TypeAlias

import torch
from torch import Tensor, nn

from calque.engines.engine import Engine
from calque.errors import UsageError
from calque.model import Seq2Seq
from calque.rows import Record
from calque.search.choose import Choose
from calque.search.hypotheses import Hypotheses
from calque.search.options import SearchConfig
from calque.search.processors import Processor
from calque.search.scorer import Scorer

_Number: TypeAlias = ctypes.c_uint8 | ctypes.c_uint16 | ctypes.c_uint32 | ctypes.c_uint64
# The type of one number of a parameter by its size in bytes: enough to detect a change.
_NUMBERS: dict[int, type[_Number]] = {1: ctypes.c_uint8, 2: ctypes.c_uint16, 4: ctypes.c_uint32, 8: ctypes.c_uint64}


class WeightsWatch:
    """Remember the addresses and values of a model's weights, to detect that they were moved or changed.

    It detects other modules and parameters, other memory (`share_memory`, `.to`, `.half`), changes in place
    (`load_state_dict`, an optimizer), and changes that torch does not count (through `.data`, in inference mode) if
    they change the largest weight of a parameter.
    """

    def __init__(self, model: nn.Module) -> None:
        members = [members for module in model.modules() for members in (module._parameters, module._modules)]
        self._members = [part for part in members if part]
        # References, so that no other object gets the same id.
        self._held = [list(part.values()) for part in self._members]
        self._ids = self._ids_now()
        self._parameters = list(model.parameters())
        self._counted = [parameter for parameter in self._parameters if not parameter.is_inference()]
        self._places = list(map(Tensor.data_ptr, self._parameters))
        self._versions = [parameter._version for parameter in self._counted]
        self._samples = [_largest(parameter) for parameter in self._parameters]
        self._sampled = [sample.value for sample in self._samples]

    def has_changed(self) -> bool:
        """Return whether the weights differ from those at the start."""
        return (
            self._ids_now() != self._ids
            or list(map(Tensor.data_ptr, self._parameters)) != self._places
            or [parameter._version for parameter in self._counted] != self._versions
            # Read last, when the memory is known to belong to the parameters.
            or [sample.value for sample in self._samples] != self._sampled
        )

    def _ids_now(self) -> list[int]:
        return list(map(id, chain.from_iterable(map(methodcaller("values"), self._members))))


class Following(Engine):
    """Search with the engine that `make` builds from a model's weights, and build it again when they have changed.

    A copy, a pickle and a forked process build their own engine. Threads may search at the same time: each uses the
    same engine until its search ends.
    """

    def __init__(self, model: Seq2Seq, make: Callable[[Seq2Seq], Engine]) -> None:
        self.model, self.make = model, make
        self._built = self._build()

    def scorer(self) -> Scorer:
        """Return the scorer of the current weights."""
        return self._current().scorer()

    def __call__(
        self,
        source: Record,
        lengths: Tensor,
        prefixes: Tensor,
        options: SearchConfig,
        processors: Sequence[Processor] = (),
        choose: Choose | None = None,
    ) -> Hypotheses:
        """Search with the engine of the current weights."""
        return self._current()(source, lengths, prefixes, options, processors, choose)

    def _current(self) -> Engine:
        watch, engine = self._built
        if watch.has_changed():
            self._built = watch, engine = self._build()
        return engine

    def __getstate__(self) -> tuple[Seq2Seq, Callable[[Seq2Seq], Engine]]:
        """Return the model and the function that builds from it, without the memory of the layout."""
        return self.model, self.make

    def __setstate__(self, state: tuple[Seq2Seq, Callable[[Seq2Seq], Engine]]) -> None:
        """Build from the copied model."""
        self.model, self.make = state
        self._built = self._build()

    def _build(self) -> tuple[WeightsWatch, Engine]:
        return WeightsWatch(self.model), self.make(_in_fp32(self.model))


def _in_fp32(model: Seq2Seq) -> Seq2Seq:
    """Return a model whose weights an engine can read: the model itself, or a copy in fp32 if it has another type.

    Raises UsageError if the weights are no longer in the memory of the CPU.
    """
    parameters = list(model.parameters())
    device = next((parameter.device.type for parameter in parameters if parameter.device.type != "cpu"), None)
    if device:
        raise UsageError(
            f"The weights were moved to {device!r}, and the engine of this Predictor reads the memory of the CPU.\n"
            f"Move them back, or load the model again with device={device!r}."
        )
    if all(parameter.dtype == torch.float32 for parameter in parameters):
        return model
    return copy.deepcopy(model).float().eval()


def _largest(parameter: Tensor) -> _Number:
    """Return the memory of the largest weight of a parameter, or a constant if the CPU cannot read it."""
    values = parameter.detach()
    kind = _NUMBERS[values.element_size()]
    if not values.numel() or values.device.type != "cpu":
        return kind(0)
    flat = values.reshape(-1) if values.is_contiguous() else values.flatten()[:1]
    place = int(flat.abs().argmax()) if values.is_contiguous() else 0
    return kind.from_address(values.data_ptr() + place * values.element_size())
