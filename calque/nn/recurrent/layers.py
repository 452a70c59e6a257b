"""Stacks of recurrent layers: tanh (Elman 1990), LSTM (Hochreiter & Schmidhuber 1997), GRU (Cho et al. 2014).

Residual connections as in Wu et al. 2016, layer normalisation of Ba et al. 2016, dropout of Gal & Ghahramani 2016.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from calque.nn.dropout import Dropout
from calque.nn.recurrent.cells import Cell, CellKind, LibraryCell, Parts, unroll, unroll_padded
from calque.nn.recurrent.cells_normed import NormedLayer

LIBRARY: dict[CellKind, type[nn.RNN | nn.LSTM | nn.GRU]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


@dataclass(frozen=True)
class SentenceMasks:
    """Scaled masks of variational dropout for one layer: of inputs [R, D'] and of hidden states [R, D]."""

    inputs: Tensor
    hidden: Tensor


class SingleLayer(Protocol):
    """A method of computing one layer; `keep` [R, D] is the dropout mask of the hidden state in its products."""

    def run(self, values: Tensor, parts: Parts, keep: Tensor | None) -> tuple[Tensor, Parts]:
        """Run values [B, T, D'] from states [B, D] each; return outputs [B, T, D] and the last states."""

    def read(self, values: Tensor, mask: Tensor, keep: Tensor | None) -> tuple[Tensor, Parts]:
        """Run padded values [B, S, D'] from zero states; the last states concatenate both directions."""


class RecurrentLayers(nn.Module):
    """A stack of layers of one kind of cell, with dropout between them; the batch is the first dimension."""

    def __init__(
        self,
        kind: CellKind,
        sizes: list[int],
        bidirectional: bool,
        dropout: float,
        *,
        residual: bool = False,
        layer_norm: bool = False,
        variational_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.extents = list(pairwise(sizes))
        self.adds = [residual and index > 0 and size == width for index, (size, width) in enumerate(self.extents)]
        self.dropout = Dropout(dropout)
        self.masks = Dropout(variational_dropout)
        directions = 2 if bidirectional else 1
        self.layers = nn.ModuleList(
            NormedLayer(kind, size, width // directions, bidirectional)
            if layer_norm
            else LIBRARY[kind](size, width // directions, batch_first=True, bidirectional=bidirectional)
            for size, width in self.extents
        )
        # The methods own no weights, so the names of weights do not depend on them.
        self.ways = [_way(kind, layer) for layer in self.layers]
        if not layer_norm:
            for name, parameter in self.named_parameters():
                _initialise(name, parameter, kind == "lstm")

    def draw(self, like: Tensor) -> tuple[SentenceMasks, ...] | None:
        """Draw masks of variational dropout for the rows of `like` [R, ..]; return None if there is no such dropout."""
        if not self.training or self.masks.threshold == 0:
            return None
        return tuple(
            SentenceMasks(*(self.masks(like.new_ones(like.shape[0], extent)) for extent in extents))
            for extents in self.extents
        )

    def forward(
        self, values: Tensor, parts: Parts, masks: tuple[SentenceMasks, ...] | None = None
    ) -> tuple[Tensor, Parts]:
        """Run values [B, T, D] from states `parts` [B, L, D] each; return outputs and the last states."""
        finals = []
        for index, way in enumerate(self.ways):
            inputs, keep = self._drop(index, values, masks)
            outputs, last = way.run(inputs, tuple(part[:, index] for part in parts), keep)
            values = values + outputs if self.adds[index] else outputs
            finals.append(last)
        return values, _stack_layers(finals)

    if TYPE_CHECKING:
        __call__ = forward

    def read(self, values: Tensor, mask: Tensor) -> tuple[Tensor, Parts]:
        """Run values [B, S, D], padded at the end where `mask` [B, S] is false, from zero states.

        Returns outputs [B, S, D] and the last states, each [B, L, D], which concatenate both directions.
        """
        finals = []
        masks = self.draw(values)
        for index, way in enumerate(self.ways):
            inputs, keep = self._drop(index, values, masks)
            outputs, last = way.read(inputs, mask, keep)
            values = values + outputs if self.adds[index] else outputs
            finals.append(last)
        return values, _stack_layers(finals)

    def _drop(
        self, index: int, values: Tensor, masks: tuple[SentenceMasks, ...] | None
    ) -> tuple[Tensor, Tensor | None]:
        inputs = self.dropout(values) if index else values
        if masks is None:
            return inputs, None
        return inputs * masks[index].inputs.unsqueeze(1), masks[index].hidden


class Kernel:
    """Compute a layer with torch's kernel, or position by position if the hidden state has dropout."""

    def __init__(self, library: nn.RNN | nn.LSTM | nn.GRU, unrolled: "Unrolled") -> None:
        self.library, self.unrolled = library, unrolled

    def run(self, values: Tensor, parts: Parts, keep: Tensor | None) -> tuple[Tensor, Parts]:
        """Run values from states."""
        if keep is not None:
            return self.unrolled.run(values, parts, keep)
        with _arithmetic(values):
            # [B, D] -> [1, B, D], as torch's layers require
            first = tuple(self._read(part).unsqueeze(0).contiguous() for part in parts)
            outputs, last = self.library(self._read(values), first if self.unrolled.num_parts == 2 else first[0])
        return outputs, tuple(part.squeeze(0) for part in self._parts(last))

    def read(self, values: Tensor, mask: Tensor, keep: Tensor | None) -> tuple[Tensor, Parts]:
        """Run padded values from zero states."""
        if keep is not None:
            return self.unrolled.read(values, mask, keep)
        lengths = mask.sum(dim=1).cpu()
        with _arithmetic(values):
            packed = pack_padded_sequence(self._read(values), lengths, batch_first=True, enforce_sorted=False)
            outputs, last = self.library(packed)
        outputs, _ = pad_packed_sequence(outputs, batch_first=True, total_length=values.shape[1])
        # [directions, B, D'] -> [B, directions · D']
        return outputs, tuple(part.transpose(0, 1).flatten(1) for part in self._parts(last))

    def _read(self, values: Tensor) -> Tensor:
        """Return values in the type of the weights, which the kernel requires without autocast."""
        if torch.is_autocast_enabled(values.device.type):
            return values
        return values.to(next(self.library.parameters()).dtype)

    def _parts(self, last: Tensor | Parts) -> Parts:
        return last if isinstance(last, tuple) else (last,)


class Unrolled:
    """Compute a layer position by position, with one cell for each direction."""

    def __init__(self, cells: list[Cell], width: int, num_parts: int) -> None:
        self.cells, self.width, self.num_parts = cells, width, num_parts

    def run(self, values: Tensor, parts: Parts, keep: Tensor | None) -> tuple[Tensor, Parts]:
        """Run values from states."""
        (cell,) = self.cells
        return unroll(cell, values, parts, keep)

    def read(self, values: Tensor, mask: Tensor, keep: Tensor | None) -> tuple[Tensor, Parts]:
        """Run padded values from zero states."""
        first = (values.new_zeros(values.shape[0], self.width),) * self.num_parts
        keeps = [None] * len(self.cells) if keep is None else keep.chunk(len(self.cells), dim=-1)
        sides = [
            unroll_padded(cell, values, mask, first, keep, backward=bool(number))
            for number, (cell, keep) in enumerate(zip(self.cells, keeps, strict=True))
        ]
        outputs, lasts = zip(*sides, strict=True)
        return torch.cat(outputs, dim=-1), tuple(torch.cat(part, dim=-1) for part in zip(*lasts, strict=True))


def _way(kind: CellKind, layer: nn.Module) -> SingleLayer:
    """Return the method of computing a layer."""
    num_parts = 2 if kind == "lstm" else 1
    if isinstance(layer, NormedLayer):
        return Unrolled(layer.cells, layer.ahead.width, num_parts)
    assert isinstance(layer, nn.RNN | nn.LSTM | nn.GRU)
    cells: list[Cell] = [LibraryCell(kind, layer, "")]
    if layer.bidirectional:
        cells.append(LibraryCell(kind, layer, "_reverse"))
    return Kernel(layer, Unrolled(cells, layer.hidden_size, num_parts))


def _arithmetic(values: Tensor) -> AbstractContextManager[object]:
    """Return the context in which torch's kernels run: without autocast on a CPU that has no bf16 kernels."""
    if values.device.type != "cpu" or not torch.is_autocast_enabled("cpu") or has_bf16_kernels():
        return nullcontext()
    return torch.autocast("cpu", enabled=False)


@cache
def has_bf16_kernels() -> bool:
    """Return whether oneDNN supports bf16 on this processor, which PyTorch's LSTM uses without a check."""
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _stack_layers(finals: list[Parts]) -> Parts:
    # A list over layers of parts [B, D] -> for each part [B, L, D]
    return tuple(torch.stack(part, dim=1) for part in zip(*finals, strict=True))


def _initialise(name: str, parameter: Tensor, has_cell: bool) -> None:
    if "weight_hh" in name:
        for gate in parameter.data.split(parameter.shape[1]):
            nn.init.orthogonal_(gate)
    elif "weight" in name:
        nn.init.xavier_uniform_(parameter)
    else:
        nn.init.zeros_(parameter)
        if has_cell and "bias_ih" in name:
            # With open forget gates, gradients pass from the first update on (Jozefowicz et al. 2015).
            width = parameter.shape[0] // 4
            nn.init.ones_(parameter.data[width : 2 * width])
