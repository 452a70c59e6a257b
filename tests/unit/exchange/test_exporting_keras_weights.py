"""Keras's lists of weights: back and forth is the same network, and what Keras has no layer for is named."""

import numpy as np
import pytest
import torch
from torch import nn

from calque.data.collate import collate_pairs
from calque.errors import UsageError
from calque.exchange.keras.weights import (
    embedding_to_keras,
    from_keras,
    recurrent_from_keras,
    recurrent_to_keras,
    to_keras,
)
from calque.model import ModelConfig, Seq2Seq, build
from calque.text.source import plain_sources

LIBRARY = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


def arrays(module: nn.Module) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in module.state_dict().items()}


def model(cell: str, attention: str, bridge: str, seed: int = 2, **options) -> Seq2Seq:
    torch.manual_seed(seed)
    part = {"kind": cell, "layers": 2, "width": 8}
    decoder = part | {"attention": {"kind": attention}, "bridge": bridge}
    section = {"encoder": part | options, "decoder": decoder, "tie_embeddings": "none"}
    made = build(ModelConfig.model_validate(section), 11, 13)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.uniform_(-1, 1)
    return made.eval()


@pytest.mark.parametrize("cell", LIBRARY)
@pytest.mark.parametrize("both", [True, False])
@torch.no_grad()
def test_a_layer_back_and_forth_computes_the_same(cell: str, both: bool) -> None:
    layer = LIBRARY[cell](5, 4, batch_first=True, bidirectional=both)
    listed = recurrent_to_keras(arrays(layer))
    gates = {"rnn": 1, "lstm": 4, "gru": 3}[cell]
    bias = (2, 12) if cell == "gru" else (gates * 4,)
    assert [part.shape for part in listed] == [(5, gates * 4), (4, gates * 4), bias] * (2 if both else 1)
    again = LIBRARY[cell](5, 4, batch_first=True, bidirectional=both)
    again.load_state_dict({name: torch.from_numpy(part.copy()) for name, part in recurrent_from_keras(listed).items()})
    values = torch.randn(2, 3, 5)
    torch.testing.assert_close(again(values)[0], layer(values)[0], rtol=1e-6, atol=1e-6)
    for first, second in zip(recurrent_to_keras(arrays(again)), listed, strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-6)


def test_a_grus_gates_change_places_and_its_biases_stay_two() -> None:
    weights = {
        "weight_ih_l0": np.array([[1.0], [2.0], [3.0]]),
        "weight_hh_l0": np.array([[4.0], [5.0], [6.0]]),
        "bias_ih_l0": np.array([7.0, 8.0, 9.0]),
        "bias_hh_l0": np.array([10.0, 11.0, 12.0]),
    }
    kernel, recurrent, bias = recurrent_to_keras(weights)
    assert kernel.tolist() == [[2, 1, 3]]
    assert recurrent.tolist() == [[5, 4, 6]]
    assert bias.tolist() == [[8, 7, 9], [11, 10, 12]]


def test_where_keras_has_one_bias_it_is_the_sum_and_comes_back_on_the_inputs() -> None:
    layer = arrays(nn.LSTM(2, 3))
    *_, bias = recurrent_to_keras(layer)
    np.testing.assert_allclose(bias, layer["bias_ih_l0"] + layer["bias_hh_l0"])
    back = recurrent_from_keras(recurrent_to_keras(layer))
    np.testing.assert_array_equal(back["bias_ih_l0"], bias)
    assert not back["bias_hh_l0"].any()


@pytest.mark.parametrize("cell", LIBRARY)
@pytest.mark.parametrize(
    ("attention", "bridge", "both"),
    [("none", "final", False), ("general", "dense", True), ("additive", "mean", True), ("scaled_dot", "zero", True)],
)
@torch.no_grad()
def test_a_model_back_and_forth_computes_the_same(cell: str, attention: str, bridge: str, both: bool) -> None:
    first, second = (model(cell, attention, bridge, seed, bidirectional=both, residual=True) for seed in (1, 2))
    listed = to_keras(arrays(first))
    assert {"source_embedding", "target_embedding", "encoder_0", "encoder_1", "decoder_1", "projection"} <= set(listed)
    assert len(listed["encoder_0"]) == (6 if both else 3)
    batch = collate_pairs(plain_sources([[4, 5, 6], [7]]), [[9, 8], [4, 10, 11]])
    assert not torch.allclose(second.losses(batch), first.losses(batch))
    second.load_state_dict({name: torch.from_numpy(part.copy()) for name, part in from_keras(listed).items()})
    torch.testing.assert_close(second.losses(batch), first.losses(batch), rtol=1e-5, atol=1e-5)


def test_keras_embeds_without_the_root_of_the_width() -> None:
    (table,) = embedding_to_keras({"weight": np.ones((3, 16))})
    assert np.all(table == 4)


@pytest.mark.parametrize(
    ("attention", "options", "name"),
    [
        ("multi_head", {}, "decoder.attention.value.weight"),
        ("general", {"layer_norm": True}, "encoder.layers.layers.0.ahead.weight_ih"),
    ],
)
def test_what_keras_has_no_layer_for_is_named(attention: str, options: dict, name: str) -> None:
    state = arrays(model("lstm", attention, "dense", **options))
    with pytest.raises(UsageError, match=f"no layer for {name}"):
        to_keras(state)


def test_other_keras_layers_are_refused() -> None:
    kernel, recurrent, bias = recurrent_to_keras(arrays(nn.GRU(2, 3)))
    with pytest.raises(UsageError, match="reset_after"):
        recurrent_from_keras([kernel, recurrent, bias[0]])
    with pytest.raises(UsageError, match="use_bias"):
        recurrent_from_keras([kernel, recurrent])
    with pytest.raises(UsageError, match="'lstm_3'"):
        from_keras({"lstm_3": [kernel]})
