"""Write a recurrent model as a Python program that builds it from Keras's own layers and loads its weights.

The layers have the names in calque.exchange.keras.weights. Dropout is in the same places as in calque, except the
variational one.
"""

import re
from string import Template

from calque.exchange.keras.weights import SIDES
from calque.model import ModelConfig
from calque.nn.recurrent.encoder_decoder import RecurrentConfig, RecurrentDecoderConfig, RecurrentEncoderConfig

PROGRAM = Template('''\
"""$name as a Keras model, written by calque; it needs only Keras and NumPy.

    python model.py     # build the model, load weights.npz next to this file, show the layers

It maps source ids [B, S], where each row ends with 3 (</s>) and is padded with 0, and target inputs [B, T], which begin
with 2 (<s>), to logits [B, T, V] of the next token. In training, give padding no weight (`sample_weight`).
"""

from pathlib import Path

import keras
import numpy as np
from keras import layers

WEIGHTS = Path(__file__).with_name("weights.npz")


def build():
    """Return the model with random weights."""
$body
    return keras.Model([source, target], logits)


def load_weights(model, path=WEIGHTS):
    """Load each layer from the arrays `layer/0`, `layer/1` and so on, in the order of `layer.get_weights()`."""
    with np.load(path) as stored:
        for layer in model.layers:
            layer.set_weights([stored[f"{layer.name}/{number}"] for number in range(len(layer.get_weights()))])


def save_weights(model, path):
    """Write the arrays of each layer under the same names; `calque import keras` reads the file."""
    arrays = {}
    for layer in model.layers:
        for number, array in enumerate(layer.get_weights()):
            arrays[f"{layer.name}/{number}"] = array
    np.savez(path, **arrays)


if __name__ == "__main__":
    filled = build()
    load_weights(filled)
    filled.summary()
''')
CELLS = {"rnn": "SimpleRNN", "lstm": "LSTM", "gru": "GRU"}


def program(config: ModelConfig, source_size: int, target_size: int, name: str) -> str:
    """Return the text of the program, for a config that Keras's layers can express."""
    assert isinstance(config.encoder, RecurrentEncoderConfig)
    assert isinstance(config.decoder, RecurrentDecoderConfig)
    lines = [
        *_encoder(config.encoder, source_size),
        *_first_states(config.encoder, config.decoder),
        *_decoder(config.decoder, config.encoder, target_size),
    ]
    # The name of a folder may contain anything, and becomes part of a program here.
    name = re.sub(r"[^\w .-]", "_", name)
    return PROGRAM.substitute(name=name, body="\n".join(f"    {line}" for line in lines))


def _num_parts(config: RecurrentConfig) -> int:
    return 2 if config.kind == "lstm" else 1


def _dropped(values: str, rate: float) -> str:
    return f"layers.Dropout({rate})({values})" if rate else values


def _encoder(config: RecurrentEncoderConfig, vocab_size: int) -> list[str]:
    embedding = f'layers.Embedding({vocab_size}, {config.width}, name="source_embedding")(source)'
    lines = [
        'source = keras.Input((None,), dtype="int32", name="source")',
        "mask = keras.ops.not_equal(source, 0)",
        f"memory = {_dropped(embedding, config.dropout)}",
    ]
    sides = len(SIDES) if config.bidirectional else 1
    for index in range(config.layers):
        name = f'name="encoder_{index}"'
        cell = f"layers.{CELLS[config.kind]}({config.width // sides}, return_sequences=True, return_state=True"
        inputs = _dropped("memory", config.dropout) if index else "memory"
        lines += [
            f"layer = layers.Bidirectional({cell}), {name})" if config.bidirectional else f"layer = {cell}, {name})",
            f"outputs, *state_{index} = layer({inputs}, mask=mask)",
            _added("memory", config.residual and index > 0),
        ]
    return lines


def _added(values: str, is_residual: bool) -> str:
    return f"{values} = layers.Add()([{values}, outputs])" if is_residual else f"{values} = outputs"


def _final(config: RecurrentEncoderConfig, index: int, part: int) -> str:
    """Return the state of a layer: Keras lists the parts of the forward side, then those of the backward side."""
    parts = _num_parts(config)
    part = min(part, parts - 1)
    if config.bidirectional:
        return f"layers.Concatenate()(state_{index}[{part}::{parts}])"
    return f"state_{index}[{part}]"


def _first_states(encoder: RecurrentEncoderConfig, config: RecurrentDecoderConfig) -> list[str]:
    """Return the lines of the bridge: lists `first_0` and so on with the first states of each decoder layer."""
    parts, width = range(_num_parts(config)), config.width
    if config.bridge == "zero":
        return []
    if config.bridge == "final":
        states = [[_final(encoder, index, part) for part in parts] for index in range(config.layers)]
        return [f"first_{index} = [{', '.join(given)}]" for index, given in enumerate(states)]
    read = [_final(encoder, encoder.layers - 1, part) for part in parts]
    if config.bridge == "mean":
        read = ["layers.GlobalAveragePooling1D()(memory, mask=mask)"] * len(read)
    dense = f'layers.Dense({width * config.layers}, activation="tanh"'
    lines = [f'bridge_{part} = {dense}, name="bridge_{part}")({read[part]})' for part in parts]
    for index in range(config.layers):
        given = [f"bridge_{part}[:, {index * width}:{(index + 1) * width}]" for part in parts]
        lines.append(f"first_{index} = [{', '.join(given)}]")
    return lines


def _decoder(config: RecurrentDecoderConfig, encoder: RecurrentEncoderConfig, vocab_size: int) -> list[str]:
    embedding = f'layers.Embedding({vocab_size}, {config.width}, name="target_embedding")(target)'
    lines = [
        'target = keras.Input((None,), dtype="int32", name="target")',
        f"values = {_dropped(embedding, config.dropout)}",
    ]
    for index in range(config.layers):
        layer = f'layers.{CELLS[config.kind]}({config.width}, return_sequences=True, name="decoder_{index}")'
        inputs = _dropped("values", config.dropout) if index else "values"
        first = "" if config.bridge == "zero" else f", initial_state=first_{index}"
        lines += [f"outputs = {layer}({inputs}{first})", _added("values", config.residual and index > 0)]
    lines += _attention(config, encoder.width)
    return [*lines, f'logits = layers.Dense({vocab_size}, name="projection")({_dropped("values", config.dropout)})']


def _attention(config: RecurrentDecoderConfig, memory_width: int) -> list[str]:
    """Return the lines that compute attentional vectors from `values`; none without attention."""
    kind, width = config.attention.kind, config.width
    if kind == "none":
        return []
    units = getattr(config.attention, "width", 0) or width
    key = f'layers.Dense({units}, use_bias=False, name="attention_key")(memory)'
    layer, inputs, lines = "layers.Attention()", "[values, memory, keys]", [f"keys = {key}"]
    if kind == "dot":
        lines = ["keys = memory"]
    elif kind == "scaled_dot":
        lines = [f"keys = layers.Rescaling({memory_width} ** -0.5)(memory)"]
    elif kind == "additive":
        layer, inputs = 'layers.AdditiveAttention(name="attention")', "[queries, memory, keys]"
        lines.append(f'queries = layers.Dense({units}, name="attention_query")(values)')
    return [
        *lines,
        f"mixed = {layer}({inputs}, mask=[None, mask])",
        f'combine = layers.Dense({width}, activation="tanh", name="combine")',
        "values = combine(layers.Concatenate()([mixed, values]))",
    ]
