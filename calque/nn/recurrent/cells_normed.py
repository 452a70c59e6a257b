"""Layer normalisation inside recurrent cells (Ba, Kiros & Hinton 2016, equation 4 and the supplementary formulas).

Norms have a gain and a shift, so the products need no biases.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from calque.nn.recurrent.cells import Cell, CellKind, Parts, gru_states, next_cell
from calque.nn.typed import LayerNorm


class NormedCell(nn.Module):
    """The two matrices of a cell of G gates, stacked as in torch."""

    def __init__(self, size: int, width: int, num_gates: int) -> None:
        super().__init__()
        self.width = width
        self.weight_ih = nn.Parameter(torch.empty(num_gates * width, size))
        self.weight_hh = nn.Parameter(torch.empty(num_gates * width, width))
        nn.init.xavier_uniform_(self.weight_ih)
        for gate in self.weight_hh.data.split(width):
            nn.init.orthogonal_(gate)


class NormedTanhCell(NormedCell):
    """h' = tanh(LN(W x + U h))."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__(size, width, 1)
        self.norm = LayerNorm(width)

    def project(self, values: Tensor) -> Tensor:
        """Return W x."""
        return linear(values, self.weight_ih)

    def step(self, inputs: Tensor, hidden: Tensor, parts: Parts) -> Parts:
        """Return the states after one more position."""
        return (torch.tanh(self.norm(inputs + linear(hidden, self.weight_hh))),)


class NormedLSTMCell(NormedCell):
    """Gates i, f, g, o = LN(W x) + LN(U h); c' = σ(f) c + σ(i) tanh(g); h' = σ(o) tanh(LN(c'))."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__(size, width, 4)
        self.input_norm = LayerNorm(4 * width)
        self.hidden_norm = LayerNorm(4 * width)
        self.cell_norm = LayerNorm(width)
        # With open forget gates, gradients pass from the first update on (Jozefowicz et al. 2015).
        nn.init.ones_(self.input_norm.bias.data[width : 2 * width])

    def project(self, values: Tensor) -> Tensor:
        """Return LN(W x)."""
        return self.input_norm(linear(values, self.weight_ih))

    def step(self, inputs: Tensor, hidden: Tensor, parts: Parts) -> Parts:
        """Return the states after one more position."""
        gates = inputs + self.hidden_norm(linear(hidden, self.weight_hh))
        cell = next_cell(gates, parts[1])
        return torch.sigmoid(gates[:, 3 * self.width :]) * torch.tanh(self.cell_norm(cell)), cell


class NormedGRUCell(NormedCell):
    """Gates r, z = LN(W x) + LN(U h); n = tanh(LN(V x) + σ(r) LN(Q h)); h' = (1 − σ(z)) n + σ(z) h."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__(size, width, 3)
        self.input_gates_norm = LayerNorm(2 * width)
        self.input_candidate_norm = LayerNorm(width)
        self.hidden_gates_norm = LayerNorm(2 * width)
        self.hidden_candidate_norm = LayerNorm(width)

    def project(self, values: Tensor) -> Tensor:
        """Return LN(W x) and LN(V x), side by side."""
        gates, candidate = linear(values, self.weight_ih).split([2 * self.width, self.width], dim=-1)
        return torch.cat([self.input_gates_norm(gates), self.input_candidate_norm(candidate)], dim=-1)

    def step(self, inputs: Tensor, hidden: Tensor, parts: Parts) -> Parts:
        """Return the states after one more position."""
        gates, candidate = linear(hidden, self.weight_hh).split([2 * self.width, self.width], dim=-1)
        recurrent = torch.cat([self.hidden_gates_norm(gates), self.hidden_candidate_norm(candidate)], dim=-1)
        return gru_states(inputs, recurrent, parts)


NormedCells = NormedTanhCell | NormedLSTMCell | NormedGRUCell
NORMED: dict[CellKind, type[NormedCells]] = {"rnn": NormedTanhCell, "lstm": NormedLSTMCell, "gru": NormedGRUCell}


class NormedLayer(nn.Module):
    """The cells of a layer: `ahead`, and `back` if the layer is bidirectional."""

    def __init__(self, kind: CellKind, size: int, width: int, bidirectional: bool) -> None:
        super().__init__()
        self.ahead = NORMED[kind](size, width)
        self.back = NORMED[kind](size, width) if bidirectional else None

    @property
    def cells(self) -> list[Cell]:
        """Return the cell of each direction."""
        return [self.ahead] if self.back is None else [self.ahead, self.back]
