"""Convert weights of recurrent models between calque's names and Keras 3's lists (`layer.get_weights()`).

Only NumPy is needed. A model is converted to named layers, so that a Keras program can load and save each layer.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calque.errors import UsageError

Array = NDArray[Any]
Weights = Mapping[str, Array]
"""Arrays by their names in a state dict, or in the part of it that belongs to one layer."""

SIDES = ("", "_reverse")
INPUTS, RECURRENT, BIASES = "weight_ih_l0", "weight_hh_l0", ("bias_ih_l0", "bias_hh_l0")
# The gates of a GRU have another order; those of an LSTM are as in calque: input, forget, candidate, output.
GATES_OF_GRU = 3


def recurrent_to_keras(weights: Weights) -> list[Array]:
    """Return the list of SimpleRNN, LSTM or GRU (reset_after), or that of Bidirectional for both directions.

    `weights` are those of a layer of torch, `weight_ih_l0` and so on. If Keras has one bias, it is the sum of both.
    """
    listed: list[Array] = []
    for side in SIDES:
        if f"{RECURRENT}{side}" in weights:
            height, width = weights[f"{RECURRENT}{side}"].shape
            num_gates = height // width
            kernel, recurrent = (_swapped(weights[name + side], num_gates).T for name in (INPUTS, RECURRENT))
            biases = np.stack([_swapped(weights[name + side], num_gates) for name in BIASES])
            listed += [kernel, recurrent, biases if num_gates == GATES_OF_GRU else biases.sum(axis=0)]
    return listed


def recurrent_from_keras(listed: Sequence[Array]) -> dict[str, Array]:
    """Return the weights of a layer of torch from the list of a Keras layer; a single bias becomes that of the inputs.

    Raises UsageError for layers without biases, and for a GRU that resets before the product.
    """
    if len(listed) not in (3, 6):
        raise UsageError(
            f"a recurrent Keras layer lists 3 arrays, or 6 for both directions, this one {len(listed)};"
            " calque has such layers only with use_bias=True"
        )
    weights: dict[str, Array] = {}
    for side, start in zip(SIDES, range(0, len(listed), 3), strict=False):
        kernel, recurrent, bias = listed[start : start + 3]
        num_gates = recurrent.shape[1] // recurrent.shape[0]
        if num_gates == GATES_OF_GRU and bias.ndim == 1:
            raise UsageError("this Keras GRU has reset_after=False; calque has GRUs only with reset_after=True")
        biases = bias if bias.ndim == 2 else (bias, np.zeros_like(bias))
        parts = zip((INPUTS, RECURRENT, *BIASES), (kernel.T, recurrent.T, *biases), strict=True)
        weights |= {name + side: _swapped(part, num_gates) for name, part in parts}
    return weights


def embedding_to_keras(weights: Weights) -> list[Array]:
    """Return the list of Embedding: calque multiplies vectors by the root of their width, Keras does not."""
    return [weights["weight"] * math.sqrt(weights["weight"].shape[1])]


def embedding_from_keras(listed: Sequence[Array]) -> dict[str, Array]:
    """Return calque's table."""
    (table,) = listed
    return {"weight": table / math.sqrt(table.shape[1])}


def dense_to_keras(weights: Weights) -> list[Array]:
    """Return the list of Dense, without a bias if there is none."""
    return [weights["weight"].T, *([weights["bias"]] if "bias" in weights else [])]


def dense_from_keras(listed: Sequence[Array]) -> dict[str, Array]:
    """Return a dense layer's matrix and bias."""
    return {name: array.T for name, array in zip(("weight", "bias"), listed, strict=False)}


def vector_to_keras(weights: Weights) -> list[Array]:
    """Return the list of AdditiveAttention: the scale of each unit."""
    return [weights["energy"]]


def vector_from_keras(listed: Sequence[Array]) -> dict[str, Array]:
    """Return the scale of each unit."""
    return {"energy": listed[0]}


def heads_to_keras(weights: Weights, num_heads: int) -> list[Array]:
    """Return the list of MultiHeadAttention from `query`, `key`, `value` and `output`; a missing bias is 0."""
    listed: list[Array] = []
    for name in ("query", "key", "value"):
        # [H · A, D] -> [D, H, A]
        kernel = weights[f"{name}.weight"].T
        bias = weights.get(f"{name}.bias", np.zeros_like(kernel[0]))
        listed += [kernel.reshape(len(kernel), num_heads, -1), bias.reshape(num_heads, -1)]
    # [D, H · A] -> [H, A, D]
    output = weights["output.weight"].T
    return [*listed, output.reshape(num_heads, -1, output.shape[1]), weights["output.bias"]]


@dataclass(frozen=True)
class KerasLayer:
    """A layer in a state dict: `pattern` matches its names, and `name` is the name in Keras."""

    pattern: str
    name: str
    to_keras: Callable[[Weights], list[Array]]
    from_keras: Callable[[Sequence[Array]], dict[str, Array]]


_DENSE = (dense_to_keras, dense_from_keras)
_EMBEDDING = (embedding_to_keras, embedding_from_keras)
_RECURRENT = (recurrent_to_keras, recurrent_from_keras)
LAYERS = (
    KerasLayer("encoder.embedding.(weight)", "source_embedding", *_EMBEDDING),
    KerasLayer(r"encoder.layers.layers.#.(weight_\w+|bias_\w+)", "encoder_#", *_RECURRENT),
    KerasLayer("decoder.bridge.dense.#.(weight|bias)", "bridge_#", *_DENSE),
    KerasLayer("decoder.embedding.(weight)", "target_embedding", *_EMBEDDING),
    KerasLayer(r"decoder.layers.layers.#.(weight_\w+|bias_\w+)", "decoder_#", *_RECURRENT),
    KerasLayer("decoder.attention.query.(weight|bias)", "attention_query", *_DENSE),
    KerasLayer("decoder.attention.key.(weight)", "attention_key", *_DENSE),
    KerasLayer("decoder.attention.(energy)", "attention", vector_to_keras, vector_from_keras),
    KerasLayer("decoder.combine.(weight|bias)", "combine", *_DENSE),
    KerasLayer("head.projection.(weight|bias)", "projection", *_DENSE),
)
"""The layers of a recurrent model, where `#` is the number of a layer, and their names in our Keras programs."""


def to_keras(state: Weights) -> dict[str, list[Array]]:
    """Return the list of weights of each Keras layer by its name; UsageError names a weight without a Keras layer.

    Parts without weights (residual connections, the scaling of a dot product) do not appear in a state dict.
    """
    parts: dict[str, dict[str, Array]] = {}
    ways: dict[str, KerasLayer] = {}
    for name, array in state.items():
        for layer in LAYERS:
            if found := re.fullmatch(_expression(layer.pattern), name):
                *number, own = found.groups()
                keras_name = layer.name.replace("#", "".join(number))
                parts.setdefault(keras_name, {})[own] = array
                ways[keras_name] = layer
                break
        else:
            raise UsageError(
                f"Keras has no layer for {name}: recurrent models without layer_norm, with attention none, dot, general"
                " or additive and no coverage, can be written as Keras layers"
            )
    return {name: ways[name].to_keras(weights) for name, weights in parts.items()}


def from_keras(listed: Mapping[str, Sequence[Array]]) -> dict[str, Array]:
    """Return a state dict from the list of weights of each Keras layer; UsageError for an unknown name."""
    state: dict[str, Array] = {}
    for name, arrays in listed.items():
        for layer in LAYERS:
            if found := re.fullmatch(_expression(layer.name), name):
                prefix = layer.pattern.partition("(")[0].replace("#", "".join(found.groups()))
                state |= {prefix + own: array for own, array in layer.from_keras(arrays).items()}
                break
        else:
            known = ", ".join(layer.name for layer in LAYERS)
            raise UsageError(f"a recurrent model has no Keras layer {name!r}; its layers are {known}")
    return state


def _expression(pattern: str) -> str:
    return pattern.replace(".", r"\.").replace("#", r"(\d+)")


def _swapped(stacked: Array, num_gates: int) -> Array:
    """Exchange the first two gates of a GRU, stacked [3 · D, ..]: calque has reset, update; Keras update, reset."""
    if num_gates != GATES_OF_GRU:
        return stacked
    first, second, candidate = np.split(stacked, GATES_OF_GRU)
    return np.concatenate([second, first, candidate])
