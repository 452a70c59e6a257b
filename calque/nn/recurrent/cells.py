"""Recurrent cells that run step by step, for normalisation and dropout inside the cell, which torch's kernels lack.

Tanh (Elman 1990), LSTM (Hochreiter & Schmidhuber 1997), GRU (Cho et al. 2014, with the reset after the product).
"""

from collections.abc import Callable
from typing import Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

CellKind = Literal["rnn", "lstm", "gru"]
Parts = tuple[Tensor, ...]
"""The states of one layer and direction, each [B, D]: hidden and, in an LSTM, cell."""


class Cell(Protocol):
    """One layer in one direction."""

    def project(self, values: Tensor) -> Tensor:
        """Return the contributions [B, T, G] of inputs [B, T, D'] to the gates, for all positions at once."""

    def step(self, inputs: Tensor, hidden: Tensor, parts: Parts) -> Parts:
        """Return the states after contributions [B, G]; `hidden` [B, D] is the hidden state after dropout."""


def tanh_states(inputs: Tensor, recurrent: Tensor, parts: Parts) -> Parts:
    """Return tanh(inputs + recurrent)."""
    return (torch.tanh(inputs + recurrent),)


def lstm_states(inputs: Tensor, recurrent: Tensor, parts: Parts) -> Parts:
    """Return hidden and cell; the order of the gates is input, forget, candidate, output."""
    gates = inputs + recurrent
    cell = next_cell(gates, parts[1])
    return torch.sigmoid(gates.chunk(4, dim=-1)[3]) * torch.tanh(cell), cell


def gru_states(inputs: Tensor, recurrent: Tensor, parts: Parts) -> Parts:
    """Return the hidden state; the order of the gates is reset, update, candidate."""
    width = parts[0].shape[-1]
    reset, update = torch.sigmoid(inputs[:, : 2 * width] + recurrent[:, : 2 * width]).chunk(2, dim=-1)
    candidate = torch.tanh(inputs[:, 2 * width :] + reset * recurrent[:, 2 * width :])
    return ((1 - update) * candidate + update * parts[0],)


def next_cell(gates: Tensor, cell: Tensor) -> Tensor:
    """Return an LSTM's cell after `gates` [B, 4 D]."""
    enter, forget, candidate, _ = gates.chunk(4, dim=-1)
    return torch.sigmoid(forget) * cell + torch.sigmoid(enter) * torch.tanh(candidate)


STATES: dict[str, Callable[[Tensor, Tensor, Parts], Parts]] = {
    "rnn": tanh_states,
    "lstm": lstm_states,
    "gru": gru_states,
}


class LibraryCell:
    """One direction of a torch layer, computed step by step with the weights of the layer."""

    def __init__(self, kind: CellKind, layer: nn.RNNBase, direction: Literal["", "_reverse"]) -> None:
        self.layer = layer
        self.ending = f"_l0{direction}"
        self.states = STATES[kind]

    def project(self, values: Tensor) -> Tensor:
        """Return the contributions of inputs to the gates."""
        return linear(values, self._weight("weight_ih"), self._weight("bias_ih"))

    def step(self, inputs: Tensor, hidden: Tensor, parts: Parts) -> Parts:
        """Return the states after one more position."""
        return self.states(inputs, linear(hidden, self._weight("weight_hh"), self._weight("bias_hh")), parts)

    def _weight(self, name: str) -> Tensor:
        weight: Tensor = getattr(self.layer, name + self.ending)
        return weight


def unroll(cell: Cell, values: Tensor, parts: Parts, keep: Tensor | None) -> tuple[Tensor, Parts]:
    """Run values [B, T, D'] from states `parts`; return hidden states [B, T, D] and the last states.

    `keep` [B, D], the same for all positions, is the dropout mask of the hidden state in the products.
    """
    hidden = []
    for inputs in cell.project(values).unbind(dim=1):
        parts = cell.step(inputs, parts[0] if keep is None else parts[0] * keep, parts)
        hidden.append(parts[0])
    return torch.stack(hidden, dim=1), parts


def unroll_padded(
    cell: Cell, values: Tensor, mask: Tensor, parts: Parts, keep: Tensor | None, *, backward: bool
) -> tuple[Tensor, Parts]:
    """Run padded values [B, S, D'] like `unroll`; where `mask` [B, S] is false, states do not change and hidden is 0.

    Backward, a sentence therefore starts at its last token with the states `parts`.
    """
    order = -1 if backward else 1
    positions = zip(cell.project(values).unbind(dim=1), mask.unbind(dim=1), mask.all(dim=0).tolist(), strict=True)
    hidden = []
    for inputs, here, all_here in list(positions)[::order]:
        after = cell.step(inputs, parts[0] if keep is None else parts[0] * keep, parts)
        if not all_here:
            after = tuple(torch.where(here[:, None], new, old) for new, old in zip(after, parts, strict=True))
        parts = after
        hidden.append(parts[0])
    return torch.stack(hidden[::order], dim=1) * mask.unsqueeze(-1), parts
