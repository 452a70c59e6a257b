"""Recurrent encoders and decoders as TensorFlow functions, equal to calque.nn.recurrent with the same weights.

Cells, layers, bridges and attentions are in the order of calque.nn; there is no dropout and no loss.
"""

import math
from collections.abc import Callable
from typing import TypeAlias

from calque.exchange.tensorflow.basics import (
    Memory,
    Nest,
    Values,
    Weights,
    add_bias,
    dense,
    embed,
    hide,
    masked_mean,
    tf,
    within,
)
from calque.nn.recurrent.encoder_decoder import RecurrentDecoderConfig, RecurrentEncoderConfig

Parts: TypeAlias = tuple[Values, ...]
"""The states of one layer and direction, each [B, D]: hidden and, in an LSTM, cell."""


def tanh_states(inputs: Values, recurrent: Values, parts: Parts) -> Parts:
    """Return tanh(inputs + recurrent)."""
    return (tf.tanh(inputs + recurrent),)


def lstm_states(inputs: Values, recurrent: Values, parts: Parts) -> Parts:
    """Return hidden and cell; the order of the gates is input, forget, candidate, output."""
    enter, forget, candidate, leave = tf.split(inputs + recurrent, 4, axis=-1)
    cell = tf.sigmoid(forget) * parts[1] + tf.sigmoid(enter) * tf.tanh(candidate)
    return tf.sigmoid(leave) * tf.tanh(cell), cell


def gru_states(inputs: Values, recurrent: Values, parts: Parts) -> Parts:
    """Return the hidden state; the order of the gates is reset, update, candidate."""
    ours, theirs = tf.split(inputs, 3, axis=-1), tf.split(recurrent, 3, axis=-1)
    reset, update = (tf.sigmoid(ours[gate] + theirs[gate]) for gate in (0, 1))
    candidate = tf.tanh(ours[2] + reset * theirs[2])
    return ((1 - update) * candidate + update * parts[0],)


STATES: dict[str, Callable[[Values, Values, Parts], Parts]] = {
    "rnn": tanh_states,
    "lstm": lstm_states,
    "gru": gru_states,
}


def project(values: Values, layer: Weights, side: str = "") -> Values:
    """Return the contribution of inputs [.., D'] to the gates [.., G]."""
    products = tf.matmul(values, layer[f"weight_ih_l0{side}"], transpose_b=True)
    return add_bias(products, layer, f"bias_ih_l0{side}")


def step_cell(kind: str, inputs: Values, parts: Parts, layer: Weights, side: str = "") -> Parts:
    """Return the states after contributions [B, G]."""
    products = tf.matmul(parts[0], layer[f"weight_hh_l0{side}"], transpose_b=True)
    return STATES[kind](inputs, add_bias(products, layer, f"bias_hh_l0{side}"), parts)


def read_side(kind: str, values: Values, mask: Values, layer: Weights, side: str) -> tuple[Values, Parts]:
    """Run padded values [B, S, D'] from zero states, backwards on the side "_reverse".

    States do not change where `mask` [B, S] is false, and outputs [B, S, D] are 0 there.
    """
    backward = bool(side)
    # [B, S, ..] -> [S, B, ..], the axis of the loop
    inputs = tf.transpose(project(values, layer, side), [1, 0, 2])
    here = tf.transpose(mask)[:, :, None]
    nothing = tf.zeros([tf.shape(values)[0], layer[f"weight_hh_l0{side}"].shape[1]])

    def advance(parts: Parts, position: tuple[Values, Values]) -> Parts:
        after = step_cell(kind, position[0], parts, layer, side)
        return tuple(tf.where(position[1], new, old) for new, old in zip(after, parts, strict=True))

    first = (nothing,) * (2 if kind == "lstm" else 1)
    parts = tf.scan(advance, (inputs, here), initializer=first, reverse=backward)
    last = tuple(part[0] if backward else part[-1] for part in parts)
    # [S, B, D] -> [B, S, D]
    return tf.transpose(tf.where(here, parts[0], 0.0), [1, 0, 2]), last


def encode(tokens: Values, mask: Values, config: RecurrentEncoderConfig, weights: Weights) -> Memory:
    """Read tokens [B, S] with recurrent layers, in both directions or one."""
    values = embed(tokens, weights)
    sides = ("", "_reverse") if config.bidirectional else ("",)
    finals = []
    for index in range(config.layers):
        layer = within(weights, f"layers.layers.{index}")
        outputs, lasts = zip(*(read_side(config.kind, values, mask, layer, side) for side in sides), strict=True)
        merged = tf.concat(outputs, axis=-1)
        values = values + merged if config.residual and index else merged
        finals.append(tuple(tf.concat(part, axis=-1) for part in zip(*lasts, strict=True)))
    # A list over layers of parts [B, D] -> for each part [B, L, D]
    return Memory(values, mask, tuple(tf.stack(part, axis=1) for part in zip(*finals, strict=True)))


def zero_bridge(memory: Memory, config: RecurrentDecoderConfig, weights: Weights) -> Parts:
    """Return first states of zeros, each [B, L, D]."""
    first = tf.zeros([tf.shape(memory.states)[0], config.layers, config.width])
    return (first,) * (2 if config.kind == "lstm" else 1)


def final_bridge(memory: Memory, config: RecurrentDecoderConfig, weights: Weights) -> Parts:
    """Return the encoder's final states."""
    return memory.summary


def dense_bridge(memory: Memory, config: RecurrentDecoderConfig, weights: Weights) -> Parts:
    """Send the top layer's final states through a dense layer and tanh."""
    parts = range(2 if config.kind == "lstm" else 1)
    tops = [memory.summary[min(part, len(memory.summary) - 1)][:, -1] for part in parts]
    return _bridged(tops, config, weights)


def mean_bridge(memory: Memory, config: RecurrentDecoderConfig, weights: Weights) -> Parts:
    """Send the mean of the memory's states through a dense layer and tanh."""
    mean = masked_mean(memory.states, memory.mask)
    return _bridged([mean] * (2 if config.kind == "lstm" else 1), config, weights)


def _bridged(read: list[Values], config: RecurrentDecoderConfig, weights: Weights) -> Parts:
    firsts = [tf.tanh(dense(values, weights, f"bridge.dense.{part}")) for part, values in enumerate(read)]
    # [B, L · D] -> [B, L, D]
    return tuple(tf.reshape(first, [-1, config.layers, config.width]) for first in firsts)


BRIDGES: dict[str, Callable[[Memory, RecurrentDecoderConfig, Weights], Parts]] = {
    "dense": dense_bridge,
    "final": final_bridge,
    "mean": mean_bridge,
    "zero": zero_bridge,
}


def as_they_are(states: Values, weights: Weights) -> Values:
    """Return memory states [B, S, D] as keys."""
    return states


def scaled(states: Values, weights: Weights) -> Values:
    """Return memory states over √D as keys."""
    return states / math.sqrt(states.shape[-1])


def projected(states: Values, weights: Weights) -> Values:
    """Return a projection of memory states as keys [B, S, A]."""
    return dense(states, weights, "key")


def product_scores(query: Values, keys: Values, weights: Weights) -> Values:
    """Return scores [B, S] of queries [B, D] by products with keys [B, S, D]."""
    return tf.linalg.matvec(keys, query)


def additive_scores(query: Values, keys: Values, weights: Weights) -> Values:
    """Return scores [B, S]: v · tanh(W query + U memory)."""
    return tf.linalg.matvec(tf.tanh(dense(query, weights, "query")[:, None] + keys), weights["energy"])


ATTENTIONS: dict[str, tuple[Callable[[Values, Weights], Values], Callable[[Values, Values, Weights], Values]]] = {
    "dot": (as_they_are, product_scores),
    "scaled_dot": (scaled, product_scores),
    "general": (projected, product_scores),
    "additive": (projected, additive_scores),
}
"""For each attention the function of its keys, called once, and that of its scores, called at each step."""


class RecurrentDecoder:
    """A decoder: call `start` once, then `step`; a state is (parts, fed vector or nothing)."""

    def __init__(self, config: RecurrentDecoderConfig, weights: Weights) -> None:
        self.config, self.weights = config, weights
        self.layers = [within(weights, f"layers.layers.{index}") for index in range(config.layers)]
        self.attention = within(weights, "attention")
        self.attends = config.attention.kind != "none"
        if self.attends:
            self.keys, self.scores = ATTENTIONS[config.attention.kind]

    def start(self, memory: Memory) -> tuple[Values, Nest]:
        """Return (context, state): keys, values and bias of the memory, and the bridged states."""
        first = BRIDGES[self.config.bridge](memory, self.config, self.weights)
        parts = tuple(tuple(tf.unstack(part, self.config.layers, axis=1)) for part in first)
        fed = (tf.zeros_like(parts[0][0]),) if self.config.input_feeding else ()
        if not self.attends:
            return (), (parts, fed)
        return (self.keys(memory.states, self.attention), memory.states, hide(~memory.mask)), (parts, fed)

    def step(self, token: Values, time: Values, state: Nest, context: Nest) -> tuple[Values, Nest]:
        """Read one token per row [B]; return hidden vectors [B, D] and the next state."""
        parts, fed = state
        values = tf.concat([embed(token, self.weights), *fed], axis=-1)
        finals = []
        for index, layer in enumerate(self.layers):
            before = tuple(part[index] for part in parts)
            after = step_cell(self.config.kind, project(values, layer), before, layer)
            values = values + after[0] if self.config.residual and index else after[0]
            finals.append(after)
        parts = tuple(zip(*finals, strict=True))
        if self.attends:
            values = self._attend(values, context)
        return values, (parts, (values,) if fed else ())

    def _attend(self, hidden: Values, context: Nest) -> Values:
        """Return attentional vectors [B, D] of hidden vectors [B, D]."""
        keys, values, bias = context
        weights = tf.nn.softmax(self.scores(hidden, keys, self.attention) + bias, axis=-1)
        # [B, S, D] by [B, S] -> [B, D]
        mixed = tf.linalg.matvec(values, weights, transpose_a=True)
        return tf.tanh(dense(tf.concat([mixed, hidden], axis=-1), self.weights, "combine"))
