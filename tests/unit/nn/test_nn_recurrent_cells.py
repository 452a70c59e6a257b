"""Cells position by position: the papers' formulas in plain loops, the library's kernels, and where padding stands."""

import math

import pytest
import torch
from torch import Tensor

from calque.nn.recurrent.cells_normed import NormedGRUCell, NormedLayer, NormedLSTMCell, NormedTanhCell
from calque.nn.recurrent.layers import Kernel, RecurrentLayers, SentenceMasks

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
KINDS = ("rnn", "lstm", "gru")
SIZE, WIDTH = 5, 8
LENGTHS = (6, 1, 4)
MASK = torch.arange(6) < torch.tensor(LENGTHS)[:, None]
each_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(5)


def layers_of(kind: str, sizes: list[int], both: bool, **options) -> RecurrentLayers:
    """Build layers of which every weight, gain and bias is drawn, none of them 0 or 1."""
    layers = RecurrentLayers(kind, sizes, both, 0.0, **options).eval()
    with torch.no_grad():
        for parameter in layers.parameters():
            parameter.uniform_(-0.9, 0.9)
    return layers


def num_parts(kind: str) -> int:
    return 2 if kind == "lstm" else 1


# --- the formulas of Ba et al. 2016, one sentence and one unit after the other


def normalised(norm: torch.nn.LayerNorm, vector: Tensor) -> Tensor:
    mean = sum(vector) / len(vector)
    spread = math.sqrt(sum((value - mean) ** 2 for value in vector) / len(vector) + norm.eps)
    return torch.stack([(v - mean) / spread * g + b for v, g, b in zip(vector, norm.weight, norm.bias, strict=True)])


def tanh_by_formula(cell: NormedTanhCell, x: Tensor, h: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
    """Equation 4: the summed input is normalised."""
    return torch.tanh(normalised(cell.norm, cell.weight_hh @ h + cell.weight_ih @ x)), h


def lstm_by_formula(cell: NormedLSTMCell, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Gates are normalised apart for hidden state and input, the new cell on its way out."""
    gates = normalised(cell.hidden_norm, cell.weight_hh @ h) + normalised(cell.input_norm, cell.weight_ih @ x)
    i, f, g, o = (gates[number * WIDTH : (number + 1) * WIDTH] for number in range(4))
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(normalised(cell.cell_norm, c)), c


def gru_by_formula(cell: NormedGRUCell, x: Tensor, h: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
    """The library's update gate says how much stays, the paper's how much is new."""
    w, u = cell.weight_ih, cell.weight_hh
    gates = normalised(cell.hidden_gates_norm, u[: 2 * WIDTH] @ h)
    gates = gates + normalised(cell.input_gates_norm, w[: 2 * WIDTH] @ x)
    reset, stay = torch.sigmoid(gates[:WIDTH]), torch.sigmoid(gates[WIDTH:])
    new = normalised(cell.input_candidate_norm, w[2 * WIDTH :] @ x)
    new = torch.tanh(new + reset * normalised(cell.hidden_candidate_norm, u[2 * WIDTH :] @ h))
    return stay * h + (1 - stay) * new, h


FORMULAS = {"rnn": tanh_by_formula, "lstm": lstm_by_formula, "gru": gru_by_formula}


@each_kind
@torch.no_grad()
def test_a_normed_encoder_layer_is_the_papers_formula(kind: str) -> None:
    """Forward and backward over each sentence alone; what a batch adds of padding is 0 and leaves the states alone."""
    layers = layers_of(kind, [SIZE, 2 * WIDTH], True, layer_norm=True)
    (layer,) = layers.layers
    assert isinstance(layer, NormedLayer)
    values = torch.randn(3, 6, SIZE)
    outputs, last = layers.read(values, MASK)
    assert len(last) == num_parts(kind)
    assert outputs[~MASK].eq(0).all()
    for row, length in enumerate(LENGTHS):
        for side, cell in enumerate((layer.ahead, layer.back)):
            here = slice(side * WIDTH, (side + 1) * WIDTH)
            h = c = torch.zeros(WIDTH)
            for time in range(length) if side == 0 else reversed(range(length)):
                h, c = FORMULAS[kind](cell, values[row, time], h, c)
                torch.testing.assert_close(outputs[row, time, here], h, **CLOSE)
            for part, expected in zip(last, (h, c), strict=False):
                torch.testing.assert_close(part[row, 0, here], expected, **CLOSE)


@each_kind
@torch.no_grad()
def test_a_normed_decoder_layer_goes_on_from_the_states_it_is_given(kind: str) -> None:
    layers = layers_of(kind, [SIZE, WIDTH, WIDTH], False, layer_norm=True)
    values, first = torch.randn(2, 3, SIZE), tuple(torch.randn(2, 2, WIDTH) for _ in range(num_parts(kind)))
    outputs, last = layers(values, first)
    for row in range(2):
        below = list(values[row])
        for depth, layer in enumerate(layers.layers):
            h, c = first[0][row, depth], first[-1][row, depth]
            for time, vector in enumerate(below):
                h, c = FORMULAS[kind](layer.ahead, vector, h, c)
                below[time] = h
            for part, expected in zip(last, (h, c), strict=False):
                torch.testing.assert_close(part[row, depth], expected, **CLOSE)
        torch.testing.assert_close(outputs[row], torch.stack(below), **CLOSE)


def test_a_normed_lstm_starts_with_an_open_forget_gate() -> None:
    cell = NormedLSTMCell(SIZE, WIDTH)
    assert cell.input_norm.bias.tolist() == [0.0] * WIDTH + [1.0] * WIDTH + [0.0] * 2 * WIDTH


# --- without norms: the library's kernels


@each_kind
@pytest.mark.parametrize("both", [True, False])
def test_position_by_position_equals_the_kernel_in_values_and_gradients(kind: str, both: bool) -> None:
    layers = layers_of(kind, [SIZE, 2 * WIDTH], both)
    (way,) = layers.ways
    assert isinstance(way, Kernel)
    values = torch.randn(3, 6, SIZE)
    found = []
    for one in (way, way.unrolled):
        layers.zero_grad()
        outputs, last = one.read(values, MASK, None)
        (outputs.square().sum() + sum(part.pow(3).sum() for part in last)).backward()
        found.append([outputs, *last, *(parameter.grad.clone() for parameter in layers.parameters())])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, **CLOSE)


@each_kind
@torch.no_grad()
def test_steps_of_a_decoder_equal_the_kernel(kind: str) -> None:
    (way,) = layers_of(kind, [SIZE, WIDTH], False).ways
    first = tuple(torch.randn(3, WIDTH) for _ in range(num_parts(kind)))
    values = torch.randn(3, 4, SIZE)
    expected, expected_last = way.run(values, first, None)
    outputs, last = way.unrolled.run(values, first, None)
    torch.testing.assert_close(outputs, expected, **CLOSE)
    torch.testing.assert_close(last, expected_last, **CLOSE)


def test_what_is_computed_does_not_change_the_names_of_weights() -> None:
    """Weights load with or without residual connections and dropout; only the norms add weights."""
    plain = RecurrentLayers("gru", [4, 4, 4], True, 0.1)
    deep = RecurrentLayers("gru", [4, 4, 4], True, 0.1, residual=True, variational_dropout=0.5)
    assert plain.state_dict().keys() == deep.state_dict().keys()
    deep.load_state_dict(plain.state_dict())
    values = torch.randn(3, 6, 4)
    # In evaluation the kernel answers: the same numbers to the last bit where nothing is added.
    deep.adds = plain.adds
    with torch.no_grad():
        assert torch.equal(deep.eval().read(values, MASK)[0], plain.eval().read(values, MASK)[0])


# --- residual connections


@each_kind
@pytest.mark.parametrize("layer_norm", [False, True])
@torch.no_grad()
def test_residual_connections_start_at_the_second_layer(kind: str, layer_norm: bool) -> None:
    """Output of layer i is what it makes of its input plus that input, in encoders and in decoders; states are raw."""
    layers = layers_of(kind, [WIDTH] * 4, False, residual=True, layer_norm=layer_norm)
    values = torch.randn(3, 6, WIDTH)
    start = tuple(torch.zeros(3, 3, WIDTH) for _ in range(num_parts(kind)))
    for outputs, last, read in ((*layers.read(values, MASK), True), (*layers(values, start), False)):
        below = values
        for depth, way in enumerate(layers.ways):
            made, states = (
                way.read(below, MASK, None) if read else way.run(below, tuple(p[:, depth] for p in start), None)
            )
            below = made if depth == 0 else below + made
            for part, expected in zip(last, states, strict=True):
                torch.testing.assert_close(part[:, depth], expected, **CLOSE)
        torch.testing.assert_close(outputs, below, **CLOSE)
        plain = RecurrentLayers(kind, [WIDTH] * 4, False, 0.0, layer_norm=layer_norm).eval()
        plain.load_state_dict(layers.state_dict())
        assert not torch.allclose(outputs, plain.read(values, MASK)[0] if read else plain(values, start)[0])


def test_nothing_is_added_where_widths_differ() -> None:
    assert RecurrentLayers("lstm", [4, 4, 6, 6], False, 0.0, residual=True).adds == [False, False, True]
    assert RecurrentLayers("lstm", [4, 4, 4], False, 0.0).adds == [False, False]


# --- dropout by one mask a sentence


def lstm_with_masks(layer: torch.nn.LSTM, ending: str, values: Tensor, keep: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gal & Ghahramani 2016 for one sentence: the same mask on the hidden state at every position."""
    w, u, b = (getattr(layer, name + ending) for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0"))
    b = b + getattr(layer, "bias_hh_l0" + ending)
    h = c = torch.zeros(u.shape[1])
    hidden = []
    for x in values:
        i, f, g, o = (w @ x + u @ (h * keep) + b).chunk(4)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        hidden.append(h)
    return torch.stack(hidden), h, c


@torch.no_grad()
def test_variational_dropout_is_the_papers_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = layers_of("lstm", [SIZE, 2 * WIDTH], True, variational_dropout=0.4).train()
    drawn: list[SentenceMasks] = []
    draw = layers.draw
    monkeypatch.setattr(layers, "draw", lambda like: drawn.extend(draw(like)) or tuple(drawn))
    values = torch.randn(3, 6, SIZE)
    outputs, last = layers.read(values, MASK)
    (masks,) = drawn
    (layer,) = layers.layers
    for row, length in enumerate(LENGTHS):
        dropped = values[row, :length] * masks.inputs[row]
        ahead, h, c = lstm_with_masks(layer, "", dropped, masks.hidden[row, :WIDTH])
        back, h_back, c_back = lstm_with_masks(layer, "_reverse", dropped.flip(0), masks.hidden[row, WIDTH:])
        torch.testing.assert_close(outputs[row, :length], torch.cat([ahead, back.flip(0)], dim=-1), **CLOSE)
        torch.testing.assert_close(last[0][row, 0], torch.cat([h, h_back]), **CLOSE)
        torch.testing.assert_close(last[1][row, 0], torch.cat([c, c_back]), **CLOSE)


def test_masks_are_drawn_for_each_sentence_and_layer_with_the_probability_asked_for() -> None:
    layers = RecurrentLayers("gru", [30, 40, 40], True, 0.0, variational_dropout=0.25)
    masks = layers.draw(torch.zeros(500, 1))
    assert masks is not None
    assert [(mask.inputs.shape[1], mask.hidden.shape[1]) for mask in masks] == [(30, 40), (40, 40)]
    for mask in (part for one in masks for part in (one.inputs, one.hidden)):
        assert mask.unique().tolist() == pytest.approx([0, 1 / 0.75])
        spread = math.sqrt(0.25 * 0.75 / mask.numel())
        assert abs(float(mask.eq(0).double().mean()) - 0.25) < 5 * spread
        assert len({tuple(row) for row in mask.tolist()}) == 500


@each_kind
@pytest.mark.parametrize("layer_norm", [False, True])
def test_evaluation_drops_nothing_and_draws_nothing(kind: str, layer_norm: bool) -> None:
    layers = layers_of(kind, [SIZE, WIDTH], False, variational_dropout=0.5, layer_norm=layer_norm)
    values = torch.randn(3, 6, SIZE)
    before = torch.get_rng_state()
    first, again = layers.read(values, MASK)[0], layers.read(values, MASK)[0]
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again)
    layers.train()
    assert not torch.allclose(layers.read(values, MASK)[0], first)
