"""Bridges: from what an encoder leaves of a sentence to the first states of a recurrent decoder.

Final states as in Sutskever et al. 2014, a dense layer on them as in Bahdanau et al. 2015, the mean of the memory as in
Sennrich et al. 2017.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from calque.errors import UsageError
from calque.nn.parts import Memory, MemoryShape

BridgeKind = Literal["dense", "final", "mean", "zero"]


class Bridge(nn.Module):
    """From an encoder's memory to a decoder's first states: `num_parts` (2 in an LSTM), each [B, L, D]."""

    def __init__(self, shape: MemoryShape, num_layers: int, width: int, num_parts: int) -> None:
        super().__init__()
        self.num_layers, self.width, self.num_parts = num_layers, width, num_parts

    def forward(self, memory: Memory) -> tuple[Tensor, ...]:
        """Return hidden and, for an LSTM, cell."""
        raise NotImplementedError


class ZeroBridge(Bridge):
    """Start from nothing: what the decoder knows of the source it has from its attention."""

    def forward(self, memory: Memory) -> tuple[Tensor, ...]:
        """Return zeros."""
        first = memory.states.new_zeros(memory.states.shape[0], self.num_layers, self.width)
        return (first,) * self.num_parts


class FinalBridge(Bridge):
    """Hand the encoder's final states over as they are; UsageError where they do not fit."""

    def __init__(self, shape: MemoryShape, num_layers: int, width: int, num_parts: int) -> None:
        super().__init__(shape, num_layers, width, num_parts)
        have = (shape.num_layers, shape.summary_width, 2 if shape.has_cell else 1)
        want = (num_layers, width, num_parts)
        if have != want:
            raise UsageError(
                f"model.decoder.bridge: final hands states over as they are, but the encoder has (layers, width,"
                f" parts) {have} and the decoder wants {want}; make them equal or set bridge = dense"
            )

    def forward(self, memory: Memory) -> tuple[Tensor, ...]:
        """Return the encoder's final states."""
        return memory.summary


class DenseBridge(Bridge):
    """Send the final states of the encoder's top layer through a dense layer and tanh."""

    def __init__(self, shape: MemoryShape, num_layers: int, width: int, num_parts: int) -> None:
        super().__init__(shape, num_layers, width, num_parts)
        self.dense = nn.ModuleList(nn.Linear(self.inputs(shape), width * num_layers) for _ in range(num_parts))

    def inputs(self, shape: MemoryShape) -> int:
        """Return the width of what is read."""
        return shape.summary_width

    def read(self, memory: Memory, part: int) -> Tensor:
        """Return what part number `part` is made of [B, D']; an encoder without a cell gives its hidden state twice."""
        return memory.summary[min(part, len(memory.summary) - 1)][:, -1]

    def forward(self, memory: Memory) -> tuple[Tensor, ...]:
        """Return a projection for each part and layer."""
        return tuple(
            torch.tanh(dense(self.read(memory, part))).unflatten(-1, (self.num_layers, self.width))
            for part, dense in enumerate(self.dense)
        )


class MeanBridge(DenseBridge):
    """Send the mean of the memory's states through a dense layer and tanh."""

    def inputs(self, shape: MemoryShape) -> int:
        """Return the width of the memory."""
        return shape.width

    def read(self, memory: Memory, part: int) -> Tensor:
        """Return the mean over what is no padding, the same for each part."""
        total = (memory.states * memory.mask.unsqueeze(-1)).sum(dim=1)
        return total / memory.mask.sum(dim=1, keepdim=True)


BRIDGES: dict[BridgeKind, type[Bridge]] = {
    "dense": DenseBridge,
    "final": FinalBridge,
    "mean": MeanBridge,
    "zero": ZeroBridge,
}
