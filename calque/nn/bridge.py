"""Bridges: from what an encoder leaves of a sentence to the first states of a recurrent decoder."""

from typing import Literal

import torch
from torch import Tensor, nn

from calque.errors import UsageError
from calque.nn.parts import Memory, MemoryShape

BridgeKind = Literal["dense", "final"]


class Bridge(nn.Module):
    """Turn an encoder's memory into a decoder's first states: `num_parts` (2 in an LSTM), each [B, L, D]."""

    def __init__(self, kind: BridgeKind, shape: MemoryShape, num_layers: int, width: int, num_parts: int) -> None:
        super().__init__()
        self.num_layers, self.width, self.num_parts = num_layers, width, num_parts
        if kind == "final":
            have = (shape.num_layers, shape.summary_width, 2 if shape.has_cell else 1)
            want = (num_layers, width, num_parts)
            if have != want:
                raise UsageError(
                    f"model.decoder.bridge: final hands states over as they are, but the encoder has (layers, width,"
                    f" parts) {have} and the decoder wants {want}; make them equal or set bridge = dense"
                )
        self.dense = nn.ModuleList(
            nn.Linear(shape.summary_width, width * num_layers) for _ in range(num_parts if kind == "dense" else 0)
        )

    def forward(self, memory: Memory) -> tuple[Tensor, ...]:
        """Return hidden and, for an LSTM, cell; a dense bridge reads the encoder's top layer."""
        summary = memory.summary
        if not self.dense:
            return summary
        top = [summary[min(part, len(summary) - 1)][:, -1] for part in range(self.num_parts)]
        return tuple(
            torch.tanh(dense(part)).unflatten(-1, (self.num_layers, self.width))
            for dense, part in zip(self.dense, top, strict=True)
        )
