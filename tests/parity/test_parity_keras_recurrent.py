"""Parity of recurrent parts and attentions with Keras on TensorFlow: random weights, fp32, padding in every batch."""

from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from calque.data.collate import collate_sources
from calque.exchange.keras.weights import (
    dense_to_keras,
    embedding_to_keras,
    heads_to_keras,
    recurrent_to_keras,
    vector_to_keras,
)
from calque.nn.attention.additive import AdditiveAttentionConfig
from calque.nn.attention.dot import DotAttentionConfig, ScaledDotAttentionConfig
from calque.nn.attention.multihead import MultiHeadAttention, hide_padding
from calque.nn.attention.multihead_memory import MultiHeadAttentionConfig
from calque.nn.embedding import Embedding
from calque.nn.parts import Memory
from calque.nn.recurrent.encoder_decoder import RecurrentEncoder, RecurrentEncoderConfig
from calque.nn.recurrent.layers import RecurrentLayers
from calque.text.source import plain_sources

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:::(tensorflow|keras)")]

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
VOCAB_SIZE, WIDTH, LAYERS = 17, 12, 2
SOURCE = collate_sources(plain_sources([[5, 6, 7, 8, 9, 10], [4], [11, 12, 13]]))
CELLS = {"rnn": "SimpleRNN", "lstm": "LSTM", "gru": "GRU"}
each_cell = pytest.mark.parametrize("cell", CELLS)
MEMORY_MASK = torch.tensor([[True] * 5, [True, True, False, False, False]])


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(7)


def redrawn(part: nn.Module) -> nn.Module:
    """Draw every weight again, so that no bias is 0."""
    with torch.no_grad():
        for parameter in part.parameters():
            parameter.uniform_(-0.6, 0.6)
    return part.eval()


def arrays(part: nn.Module) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in part.state_dict().items()}


def keras_layer(keras: ModuleType, cell: str, width: int):
    options = {"reset_after": True} if cell == "gru" else {}
    return getattr(keras.layers, CELLS[cell])(width, return_sequences=True, return_state=True, **options)


@each_cell
@pytest.mark.parametrize("both", [True, False], ids=["both", "one"])
@torch.no_grad()
def test_encoder(keras: ModuleType, cell: str, both: bool) -> None:
    """Embedding, then layers in one direction or Bidirectional: outputs and final states, padding masked."""
    config = RecurrentEncoderConfig(kind=cell, layers=LAYERS, width=WIDTH, bidirectional=both)
    encoder = redrawn(RecurrentEncoder(config, Embedding(VOCAB_SIZE, WIDTH)))
    memory = encoder(SOURCE)
    embedding = keras.layers.Embedding(VOCAB_SIZE, WIDTH, mask_zero=True)
    values = embedding(SOURCE.tokens.numpy())
    embedding.set_weights(embedding_to_keras(arrays(encoder.embedding)))
    values = embedding(SOURCE.tokens.numpy())
    mask = embedding.compute_mask(SOURCE.tokens.numpy())
    assert np.array_equal(mask, SOURCE.mask.numpy())
    parts = 2 if cell == "lstm" else 1
    for index, library in enumerate(encoder.layers.layers):
        layer = keras_layer(keras, cell, WIDTH // (2 if both else 1))
        layer = keras.layers.Bidirectional(layer) if both else layer
        layer.build(values.shape)
        layer.set_weights(recurrent_to_keras(arrays(library)))
        values, *last = layer(values, mask=mask)
        for part, ours in enumerate(memory.summary):
            # Keras lists the states of the forward side, then those of the backward side.
            theirs = np.concatenate([np.asarray(state) for state in last[part::parts]], axis=-1)
            torch.testing.assert_close(ours[:, index], torch.from_numpy(theirs), **CLOSE)
    theirs = torch.from_numpy(np.array(values))
    torch.testing.assert_close(memory.states[SOURCE.mask], theirs[SOURCE.mask], **CLOSE)


@each_cell
@torch.no_grad()
def test_decoder_layers_from_given_states(keras: ModuleType, cell: str) -> None:
    layers = redrawn(RecurrentLayers(cell, [7, WIDTH], False, 0.0))
    values = torch.randn(3, 5, 7)
    first = tuple(torch.randn(3, 1, WIDTH) for _ in range(2 if cell == "lstm" else 1))
    outputs, last = layers(values, first)
    layer = keras_layer(keras, cell, WIDTH)
    layer.build(values.shape)
    layer.set_weights(recurrent_to_keras(arrays(layers.layers[0])))
    theirs, *states = layer(values.numpy(), initial_state=[part[:, 0].numpy() for part in first])
    torch.testing.assert_close(outputs, torch.from_numpy(np.array(theirs)), **CLOSE)
    for part, state in zip(last, states, strict=True):
        torch.testing.assert_close(part[:, 0], torch.from_numpy(np.array(state)), **CLOSE)


def attended(config, query_width: int, memory_width: int) -> tuple[nn.Module, Tensor, Memory, Tensor, Tensor]:
    """Return an attention, a query, a memory with padding, and what comes of them."""
    attention = redrawn(config.build(query_width, memory_width))
    query, memory = torch.randn(2, 3, query_width), Memory(torch.randn(2, 5, memory_width), MEMORY_MASK, ())
    return (attention, query, memory, *attention(query, attention.start(memory)))


def compare(mixed: Tensor, weights: Tensor, theirs: tuple) -> None:
    torch.testing.assert_close(mixed, torch.from_numpy(np.array(theirs[0])), **CLOSE)
    torch.testing.assert_close(weights, torch.from_numpy(np.array(theirs[1])), **CLOSE)


@pytest.mark.parametrize("config", [DotAttentionConfig(), ScaledDotAttentionConfig()], ids=lambda config: config.kind)
@torch.no_grad()
def test_attention_by_products(keras: ModuleType, config) -> None:
    """Keras's scale is a weight; calque's is 1 over the root of the width."""
    attention, query, memory, mixed, weights = attended(config, WIDTH, WIDTH)
    assert not list(attention.parameters())
    layer = keras.layers.Attention(use_scale=config.kind == "scaled_dot")
    inputs = [query.numpy(), memory.states.numpy()]
    layer.build([part.shape for part in inputs])
    if config.kind == "scaled_dot":
        layer.set_weights([np.array(WIDTH**-0.5, dtype=np.float32)])
    theirs = layer(inputs, mask=[None, MEMORY_MASK.numpy()], return_attention_scores=True)
    compare(mixed, weights, theirs)


@torch.no_grad()
def test_additive_attention(keras: ModuleType) -> None:
    """Keras leaves the projections of query and memory to dense layers."""
    attention, query, memory, mixed, weights = attended(AdditiveAttentionConfig(width=7), 6, 9)
    layer = keras.layers.AdditiveAttention(use_scale=True)
    query_layer, key_layer = keras.layers.Dense(7), keras.layers.Dense(7, use_bias=False)
    query_layer.build(query.shape)
    key_layer.build(memory.states.shape)
    query_layer.set_weights(dense_to_keras(arrays(attention.query)))
    key_layer.set_weights(dense_to_keras(arrays(attention.key)))
    values = memory.states.numpy()
    inputs = [query_layer(query.numpy()), values, key_layer(values)]
    layer.build([part.shape for part in inputs])
    layer.set_weights(vector_to_keras(arrays(attention)))
    compare(mixed, weights, layer(inputs, mask=[None, MEMORY_MASK.numpy()], return_attention_scores=True))


def keras_heads(keras: ModuleType, query: Tensor, memory: Tensor, listed: list[np.ndarray]) -> tuple:
    """Return what Keras's multi-head attention makes of query and memory, and its weights for each head."""
    _, heads, width = listed[0].shape
    layer = keras.layers.MultiHeadAttention(heads, width, output_shape=listed[-1].shape[-1])
    layer.build(query.shape, memory.shape, memory.shape)
    layer.set_weights(listed)
    mask = MEMORY_MASK[:, None].expand(2, query.shape[1], 5).numpy()
    return layer(query.numpy(), memory.numpy(), attention_mask=mask, return_attention_scores=True)


@torch.no_grad()
def test_multi_head_attention_of_a_recurrent_decoder(keras: ModuleType) -> None:
    config = MultiHeadAttentionConfig(heads=3, width=12)
    attention, query, memory, mixed, weights = attended(config, 6, 9)
    theirs, per_head = keras_heads(keras, query, memory.states, heads_to_keras(arrays(attention), 3))
    compare(mixed, weights, (theirs, np.asarray(per_head).mean(axis=1)))


@torch.no_grad()
def test_multi_head_attention_of_a_transformer(keras: ModuleType) -> None:
    attention = redrawn(MultiHeadAttention(WIDTH, 3, 9, 0.0))
    query, memory = torch.randn(2, 4, WIDTH), torch.randn(2, 5, 9)
    keys, values = attention.project_memory(memory)
    mixed, weights = attention(attention.project_query(query), keys, values, hide_padding(MEMORY_MASK, memory))
    named = arrays(attention)
    for kind in ("weight", "bias"):
        named[f"key.{kind}"], named[f"value.{kind}"] = np.split(named[f"key_value.{kind}"], 2)
    compare(mixed, weights, keras_heads(keras, query, memory, heads_to_keras(named, 3)))
