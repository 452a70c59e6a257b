"""An engine that lays out weights of its own, and follows the model when the model's weights change.

Laying weights out anew costs some milliseconds; noticing a change costs some microseconds for each batch.
"""

import ctypes
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from calque.engines.eager import Engine
from calque.model import Seq2Seq
from calque.search.hypotheses import Hypotheses
from calque.search.options import SearchConfig

# One number of a parameter by the size of its type in bytes: enough to compare it with what it was.
_NUMBERS = {1: ctypes.c_uint8, 2: ctypes.c_uint16, 4: ctypes.c_uint32, 8: ctypes.c_uint64}


class WeightsWatch:
    """Remember where the weights of a model are and what they hold, to notice when they are moved or changed.

    Seen are other parameters, other memory (`share_memory`, `.to`, `.half`), changes in place (`load_state_dict`, an
    optimizer), and changes through `.data`, which torch does not count, where they change the largest weight.
    """

    def __init__(self, model: nn.Module) -> None:
        self._owners = [
            (module._parameters, name, parameter)
            for module in model.modules()
            for name, parameter in module._parameters.items()
            if parameter is not None
        ]
        parameters = [parameter for _, _, parameter in self._owners]
        self._parameters = parameters
        self._places = [parameter.data_ptr() for parameter in parameters]
        self._versions = [parameter._version for parameter in parameters]
        self._samples = [_largest(parameter) for parameter in parameters]
        self._sampled = [sample.value for sample in self._samples]

    def has_changed(self) -> bool:
        """Return whether the weights are no longer those that were there at the start."""
        return (
            any(owner.get(name) is not parameter for owner, name, parameter in self._owners)
            or [parameter.data_ptr() for parameter in self._parameters] != self._places
            or [parameter._version for parameter in self._parameters] != self._versions
            # Read last: the memory is known to be the parameters' own now.
            or [sample.value for sample in self._samples] != self._sampled
        )


class Following:
    """Search with what `make` builds from a model's weights, and build it anew when they have changed.

    A copy, a pickle and a forked process build their own. Threads may search at the same time: each keeps the engine
    that it began with until its search ends.
    """

    def __init__(self, model: Seq2Seq, make: Callable[[Seq2Seq], Engine]) -> None:
        self.model, self.make = model, make
        self._built = self._build()

    def __call__(self, source: Any, lengths: Tensor, prefixes: Tensor, options: SearchConfig) -> Hypotheses:
        """Return the best outputs of the B sentences of the record `source`, `lengths` [B] tokens long."""
        watch, engine = self._built
        if watch.has_changed():
            self._built = watch, engine = self._build()
        return engine(source, lengths, prefixes, options)

    @property
    def owns_threads(self) -> bool:
        """Return what the engine that was built says."""
        return self._built[1].owns_threads

    def __getstate__(self) -> tuple[Seq2Seq, Callable[[Seq2Seq], Engine]]:
        """Return what is copied: the model and how to build from it, never memory that was laid out."""
        return self.model, self.make

    def __setstate__(self, state: tuple[Seq2Seq, Callable[[Seq2Seq], Engine]]) -> None:
        """Build from the copied model."""
        self.model, self.make = state
        self._built = self._build()

    def _build(self) -> tuple[WeightsWatch, Engine]:
        return WeightsWatch(self.model), self.make(self.model)


def _largest(parameter: Tensor) -> Any:
    """Return the memory of the largest weight of a parameter on the CPU."""
    values = parameter.detach()
    kind = _NUMBERS[values.element_size()]
    if not values.numel():
        return kind(0)
    flat = values.reshape(-1) if values.is_contiguous() else values.flatten()[:1]
    place = int(flat.abs().argmax()) if values.is_contiguous() else 0
    return kind.from_address(values.data_ptr() + place * values.element_size())
