"""Stacks of recurrent layers: tanh (Elman 1990), LSTM (Hochreiter & Schmidhuber 1997), GRU (Cho et al. 2014)."""

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from calque.nn.dropout import Dropout

Cell = Literal["rnn", "lstm", "gru"]


class RecurrentLayers(nn.Module):
    """Stack single layers of one cell with dropout between them, batch first."""

    def __init__(self, cell: Cell, sizes: list[int], bidirectional: bool, dropout: float) -> None:
        super().__init__()
        kinds: dict[str, type[nn.RNN | nn.LSTM | nn.GRU]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
        directions = 2 if bidirectional else 1
        self.layers = nn.ModuleList(
            kinds[cell](size, width // directions, batch_first=True, bidirectional=bidirectional)
            for size, width in pairwise(sizes)
        )
        self.has_cell = cell == "lstm"
        self.dropout = Dropout(dropout)
        for name, parameter in self.named_parameters():
            _initialise(name, parameter, self.has_cell)

    def forward(self, values: Tensor, parts: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Run values [B, T, D] from states `parts` [B, L, D] each; return outputs and the last states."""
        finals = []
        for index, layer in enumerate(self.layers):
            # [B, D] -> [1, B, D], as the library's layers want it
            first = [part[:, index].unsqueeze(0).contiguous() for part in parts]
            values, last = layer(self.dropout(values) if index else values, tuple(first) if self.has_cell else first[0])
            finals.append(last if self.has_cell else (last,))
        return values, _stack_layers(finals)

    def read(self, values: Tensor, lengths: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Run padded values [B, S, D] of `lengths` [B] from zero states; padding takes no part.

        Returns outputs [B, S, D] and the last states, each [B, L, D]: forward and backward side by side.
        """
        finals = []
        for index, layer in enumerate(self.layers):
            packed = pack_padded_sequence(
                self.dropout(values) if index else values, lengths, batch_first=True, enforce_sorted=False
            )
            outputs, last = layer(packed)
            values, _ = pad_packed_sequence(outputs, batch_first=True, total_length=values.shape[1])
            # [directions, B, D'] -> [1, B, directions · D']
            states = last if self.has_cell else (last,)
            finals.append(tuple(state.transpose(0, 1).flatten(1).unsqueeze(0) for state in states))
        return values, _stack_layers(finals)


def _stack_layers(finals: list[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    # A list over layers of parts [1, B, D] -> for each part [B, L, D]
    return tuple(torch.cat(part).transpose(0, 1) for part in zip(*finals, strict=True))


def _initialise(name: str, parameter: Tensor, has_cell: bool) -> None:
    if "weight_hh" in name:
        for gate in parameter.data.split(parameter.shape[1]):
            nn.init.orthogonal_(gate)
    elif "weight" in name:
        nn.init.xavier_uniform_(parameter)
    else:
        nn.init.zeros_(parameter)
        if has_cell and "bias_ih" in name:
            # An open forget gate lets gradients through from the first update (Jozefowicz et al. 2015).
            width = parameter.shape[0] // 4
            nn.init.ones_(parameter.data[width : 2 * width])
