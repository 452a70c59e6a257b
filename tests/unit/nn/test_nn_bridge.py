"""Bridges: each by its formula on encoders of every kind, padding left out; what does not fit is named."""

from typing import Any

import pytest
import torch
from torch import Tensor

from calque.data.collate import collate_sources
from calque.errors import UsageError
from calque.model import ModelConfig, Seq2Seq, build
from calque.nn.recurrent.bridge import BRIDGES
from calque.text.source import plain_sources

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
WIDTH, LAYERS = 8, 2
SOURCE = collate_sources(plain_sources([[4, 5, 6, 7], [8], [9, 10]]))
ENCODERS: dict[str, dict[str, Any]] = {
    "rnn": {"kind": "rnn", "layers": 2, "width": WIDTH},
    "lstm": {"kind": "lstm", "layers": 2, "width": WIDTH},
    "gru-wide": {"kind": "gru", "layers": 1, "width": 12},
    "lstm-deep": {"kind": "lstm", "layers": 3, "width": WIDTH, "residual": True, "layer_norm": True},
    "transformer": {"kind": "transformer", "layers": 1, "width": 12, "heads": 2, "feed_forward": 9},
    "several": {
        "kind": "several",
        "encoders": [
            {"kind": "lstm", "layers": 1, "width": 6},
            {"kind": "transformer", "layers": 1, "width": 6, "heads": 2, "feed_forward": 9},
        ],
    },
}
each_encoder = pytest.mark.parametrize("encoder", [name for name in ENCODERS if name != "several"])
each_cell = pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])


def made(encoder: str, cell: str, bridge: str, **changes: Any) -> Seq2Seq:
    torch.manual_seed(1)
    decoder = {"kind": cell, "layers": LAYERS, "width": WIDTH, "bridge": bridge} | changes
    return build(ModelConfig.model_validate({"encoder": ENCODERS[encoder], "decoder": decoder}), 13, 13).eval()


def first_states(model: Seq2Seq, cell: str) -> tuple[Tensor, ...]:
    _, state = model.decoder.start(model.encoder(SOURCE))
    assert len(state.parts) == (2 if cell == "lstm" else 1)
    assert all(part.shape == (3, LAYERS, WIDTH) for part in state.parts)
    return state.parts


@each_encoder
@each_cell
@torch.no_grad()
def test_zero_starts_from_nothing(encoder: str, cell: str) -> None:
    model = made(encoder, cell, "zero")
    assert all(part.eq(0).all() for part in first_states(model, cell))
    assert list(model.decoder.bridge.parameters()) == []


@each_encoder
@each_cell
@torch.no_grad()
def test_mean_is_a_dense_layer_on_the_mean_of_each_sentences_own_states(encoder: str, cell: str) -> None:
    model = made(encoder, cell, "mean")
    found = first_states(model, cell)
    for row, length in enumerate(SOURCE.mask.sum(dim=1).tolist()):
        alone = collate_sources(plain_sources([SOURCE.tokens[row, : length - 1].tolist()]))
        states = model.encoder(alone).states[0]
        mean = sum(states[place] for place in range(length)) / length
        for part, dense in zip(found, model.decoder.bridge.dense, strict=True):
            expected = torch.tanh(dense.weight @ mean + dense.bias)
            torch.testing.assert_close(part[row].flatten(), expected, **CLOSE)


@each_encoder
@each_cell
@torch.no_grad()
def test_dense_is_a_dense_layer_on_the_top_layers_final_states(encoder: str, cell: str) -> None:
    """An LSTM's cell comes from the encoder's cell where there is one, else from its hidden state."""
    model = made(encoder, cell, "dense")
    summary = model.encoder(SOURCE).summary
    for number, (part, dense) in enumerate(zip(first_states(model, cell), model.decoder.bridge.dense, strict=True)):
        top = summary[number if len(summary) == 2 else 0][:, -1]
        for row in range(3):
            expected = torch.tanh(dense.weight @ top[row] + dense.bias)
            torch.testing.assert_close(part[row].flatten(), expected, **CLOSE)


@pytest.mark.parametrize(("encoder", "cell"), [("rnn", "rnn"), ("rnn", "gru"), ("lstm", "lstm")])
@torch.no_grad()
def test_final_hands_over_what_is_there(encoder: str, cell: str) -> None:
    model = made(encoder, cell, "final")
    for part, left in zip(first_states(model, cell), model.encoder(SOURCE).summary, strict=True):
        assert torch.equal(part, left)


@pytest.mark.parametrize(
    ("encoder", "cell"),
    [("rnn", "lstm"), ("lstm", "gru"), ("gru-wide", "gru"), ("lstm-deep", "lstm"), ("transformer", "gru")],
)
def test_final_that_does_not_fit_is_refused_with_both_sides(encoder: str, cell: str) -> None:
    with pytest.raises(UsageError) as refused:
        made(encoder, cell, "final")
    text = str(refused.value)
    assert text.startswith("model.decoder.bridge: final")
    assert str((LAYERS, WIDTH, 2 if cell == "lstm" else 1)) in text
    assert "bridge = dense" in text


@pytest.mark.parametrize("bridge", ["dense", "mean", "zero"])
@each_cell
def test_an_encoder_of_several_sources_fits_too(bridge: str, cell: str) -> None:
    model = made("several", cell, bridge)
    widths = {"dense": [12], "mean": [6], "zero": []}[bridge]
    dense = getattr(model.decoder.bridge, "dense", [])
    assert [layer.in_features for layer in dense] == widths * (2 if cell == "lstm" else 1)


def test_a_decoder_that_would_see_nothing_of_the_source_is_refused() -> None:
    with pytest.raises(UsageError, match=r"model\.decoder\.bridge is zero .* model\.decoder\.attention is none"):
        made("lstm", "lstm", "zero", attention={"kind": "none"})


def test_every_kind_is_held_to_its_formula() -> None:
    assert set(BRIDGES) == {"dense", "mean", "final", "zero"}
