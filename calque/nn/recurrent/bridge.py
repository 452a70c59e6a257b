"""Bridges from an encoder's memory to the first states of a recurrent decoder.

Final states as in Sutskever et al. 2014, a dense layer on them as in Bahdanau et al. 2015, or on the mean of the memory
as in Sennrich et al. 2017.
"""

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from calque.errors import UsageError
from calque.nn.parts import Memory, MemoryShape, mean_state
from calque.nn.typed import Linear, ModuleList

BridgeKind = Literal["dense", "final", "mean", "zero"]


class Bridge(nn.Module):
    """Map an encoder's memory to a decoder's first states: `num_parts` of them (2 in an LSTM), each [B, L, D]."""

    def __init__(self, shape: MemoryShape, num_layers: int, width: int, num_parts: int) -> None:
        super().__init__()
        self.num_layers, self.width, self.num_parts = num_layers, width, num_parts

    def forward(self, memory: Memory) -> tuple[Tensor, ...]:
        """Return hidden and, for an LSTM, cell."""
        raise NotImplementedError

    if TYPE_CHECKING:
        __call__ = forward


class ZeroBridge(Bridge):
    """Start from zeros: the decoder sees the source by its attention only."""

    def forward(self, memory: Memory) -> tuple[Tensor, ...]:
        """Return zeros."""
        first = memory.states.new_zeros(memory.states.shape[0], self.num_layers, self.width)
        return (first,) * self.num_parts


class FinalBridge(Bridge):
    """Use the encoder's final states unchanged; UsageError if their shapes differ from the decoder's."""

    def __init__(self, shape: MemoryShape, num_layers: int, width: int, num_parts: int) -> None:
        super().__init__(shape, num_layers, width, num_parts)
        have = (shape.num_layers, shape.summary_width, 2 if shape.has_cell else 1)
        want = (num_layers, width, num_parts)
        if have != want:
            raise UsageError(
                f"model.decoder.bridge: final needs an encoder and a decoder of equal shapes, but (layers, width,"
                f" states) are {have} in the encoder and {want} in the decoder; make them equal or set bridge = dense"
            )

    def forward(self, memory: Memory) -> tuple[Tensor, ...]:
        """Return the encoder's final states."""
        return memory.summary


class DenseBridge(Bridge):
    """Apply a dense layer and tanh to the final states of the encoder's top layer."""

    def __init__(self, shape: MemoryShape, num_layers: int, width: int, num_parts: int) -> None:
        super().__init__(shape, num_layers, width, num_parts)
        self.dense = ModuleList(Linear(self.inputs(shape), width * num_layers) for _ in range(num_parts))

    def inputs(self, shape: MemoryShape) -> int:
        """Return the width of the vectors that `read` returns."""
        return shape.summary_width

    def read(self, memory: Memory, part: int) -> Tensor:
        """Return the vectors [B, D'] for part number `part`; without a cell, the hidden state serves for both parts."""
        return memory.summary[min(part, len(memory.summary) - 1)][:, -1]

    def forward(self, memory: Memory) -> tuple[Tensor, ...]:
        """Return one projection for each part and layer."""
        return tuple(
            torch.tanh(dense(self.read(memory, part))).unflatten(-1, (self.num_layers, self.width))
            for part, dense in enumerate(self.dense)
        )


class MeanBridge(DenseBridge):
    """Apply a dense layer and tanh to the mean of the memory's states."""

    def inputs(self, shape: MemoryShape) -> int:
        """Return the width of the memory."""
        return shape.width

    def read(self, memory: Memory, part: int) -> Tensor:
        """Return the mean of the states without padding, the same for each part."""
        return mean_state(memory.states, memory.mask)


BRIDGES: dict[BridgeKind, type[Bridge]] = {
    "dense": DenseBridge,
    "final": FinalBridge,
    "mean": MeanBridge,
    "zero": ZeroBridge,
}
