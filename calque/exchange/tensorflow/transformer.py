"""The Transformer as TensorFlow functions, equal to calque.nn.transformer, with its cache.

All rows of a batch are at the same position, so the cache grows by one place at each step and needs no mask.
"""

from collections.abc import Callable

from calque.exchange.tensorflow.basics import (
    Memory,
    Nest,
    Values,
    Weights,
    dense,
    embed,
    hide,
    masked_mean,
    tf,
    unfold,
    within,
)
from calque.exchange.tensorflow.positions import Positions, rotate
from calque.nn.transformer.config import TransformerConfig
from calque.nn.transformer.encoder_decoder import TransformerDecoderConfig, TransformerEncoderConfig
from calque.nn.transformer.feed_forward import ACTIVATIONS

FUNCTIONS: dict[str, Callable[[Values], Values]] = {
    "relu": lambda values: tf.nn.relu(values),
    "gelu": lambda values: tf.nn.gelu(values, approximate=False),
    "gelu_tanh": lambda values: tf.nn.gelu(values, approximate=True),
    "silu": lambda values: tf.nn.silu(values),
}
INNER = {"swiglu": "silu", "geglu": "gelu", "geglu_tanh": "gelu_tanh"}
"""The activation function, of the gate if there is one."""


def layer_norm(values: Values, norm: Weights, epsilon: float) -> Values:
    """Centre and scale vectors [.., D]."""
    mean = tf.reduce_mean(values, axis=-1, keepdims=True)
    centred = values - mean
    variance = tf.reduce_mean(tf.square(centred), axis=-1, keepdims=True)
    normed = centred * tf.math.rsqrt(variance + epsilon) * norm["weight"]
    return normed + norm["bias"] if "bias" in norm else normed


def rms_norm(values: Values, norm: Weights, epsilon: float) -> Values:
    """Scale vectors [.., D] to a mean square of one."""
    square = tf.reduce_mean(tf.square(values), axis=-1, keepdims=True)
    return values * tf.math.rsqrt(square + epsilon) * norm["weight"]


NORMS: dict[str, Callable[[Values, Weights, float], Values]] = {"layer": layer_norm, "rms": rms_norm}


class Sublayers:
    """The settings that the layers of one side share: norms and their position, heads, feed-forward network."""

    def __init__(self, config: TransformerConfig) -> None:
        self.heads, self.groups = config.heads, config.key_value_heads or config.heads
        self.head_width = config.head_width or config.width // config.heads
        self.kind, self.epsilon, self.is_pre = config.norm, config.norm_epsilon, config.norm_position == "pre"
        self.gated = ACTIVATIONS[config.activation][1]
        self.function = FUNCTIONS[INNER.get(config.activation, config.activation)]

    def norm(self, values: Values, weights: Weights, name: str) -> Values:
        """Return vectors normalised by the norm of that name."""
        return NORMS[self.kind](values, within(weights, name), self.epsilon)

    def before(self, values: Values, layer: Weights, name: str) -> Values:
        """Return the input of a sublayer: values, normalised if the norm is before it."""
        return self.norm(values, layer, name) if self.is_pre else values

    def after(self, values: Values, layer: Weights, name: str) -> Values:
        """Return the sum of a sublayer's input and output, normalised if the norm is after it."""
        return values if self.is_pre else self.norm(values, layer, name)

    def add_feed_forward(self, values: Values, layer: Weights) -> Values:
        """Return values plus the output of a layer's feed-forward network."""
        change = self.feed_forward(self.before(values, layer, "feed_forward_norm"), within(layer, "feed_forward"))
        return self.after(values + change, layer, "feed_forward_norm")

    def feed_forward(self, values: Values, weights: Weights) -> Values:
        """Apply two dense layers with a function between them, and a gate if there is one."""
        units = self.function(dense(values, weights, "inner"))
        return dense(units * dense(values, weights, "gate") if self.gated else units, weights, "outer")

    def project_query(self, values: Values, attention: Weights) -> Values:
        """[B, T, D] -> [B, H, T, d], scaled."""
        query = unfold(dense(values, attention, "query"), self.heads, self.head_width)
        return tf.transpose(query, [0, 2, 1, 3]) * self.head_width**-0.5

    def project_memory(self, memory: Values, attention: Weights) -> tuple[Values, Nest]:
        """[B, S, D] -> keys and values, each [B, G, S, d]."""
        both = unfold(dense(memory, attention, "key_value"), 2, self.groups, self.head_width)
        keys, values = tf.unstack(tf.transpose(both, [2, 0, 3, 1, 4]), 2)
        return keys, values

    def attend(self, query: Values, keys: Values, values: Values, bias: Values, attention: Weights) -> Values:
        """Return the values [B, T, D] that queries [B, H, T, d] attend to; `bias` broadcasts to the scores."""
        weights = tf.nn.softmax(self._product(query, keys, transpose_b=True) + bias, axis=-1)
        # [B, H, T, d] -> [B, T, H, d] -> [B, T, H · d]
        mixed = tf.transpose(self._product(weights, values), [0, 2, 1, 3])
        shape = tf.concat([tf.shape(mixed)[:2], [self.heads * self.head_width]], axis=0)
        return dense(tf.reshape(mixed, shape), attention, "output")

    def _product(self, left: Values, right: Values, transpose_b: bool = False) -> Values:
        """[B, H, T, N] by [B, G, N, M] -> [B, H, T, M]: adjacent heads share one of the G."""
        if self.groups == self.heads:
            return tf.matmul(left, right, transpose_b=transpose_b)
        shape = tf.shape(left)
        # [B, H, T, N] -> [B, G, H/G · T, N]
        folded = tf.reshape(left, [shape[0], self.groups, self.heads // self.groups * shape[2], shape[3]])
        product = tf.matmul(folded, right, transpose_b=transpose_b)
        return tf.reshape(product, [shape[0], self.heads, shape[2], tf.shape(product)[3]])


def embed_at(
    tokens: Values, place: Values, config: TransformerConfig, weights: Weights, positions: Positions
) -> Values:
    """Return vectors [B, T, D] of tokens [B, T] at `place` [T]."""
    values = positions.add_to(embed(tokens, weights, config.scale_embeddings), place)
    return Sublayers(config).norm(values, weights, "embedding_norm") if config.norm_embeddings else values


def encode(
    tokens: Values, mask: Values, config: TransformerEncoderConfig, weights: Weights, positions: Positions
) -> Memory:
    """Read tokens [B, S] with self-attention; the summary is the mean of the states."""
    parts = Sublayers(config)
    place = tf.range(positions.check(tf.shape(tokens)[1]))
    values = embed_at(tokens, place, config, weights, positions)
    # [B, 1, 1, S] + [H, S, S]
    bias = hide(~mask)[:, None, None, :] + positions.bias(place, place)
    turn = positions.turn(place)
    for index in range(config.layers):
        layer = within(weights, f"layers.{index}")
        attention = within(layer, "attention")
        normed = parts.before(values, layer, "attention_norm")
        query, (keys, own) = parts.project_query(normed, attention), parts.project_memory(normed, attention)
        query, keys = rotate(query, turn), rotate(keys, turn)
        mixed = parts.attend(query, keys, own, bias, attention)
        values = parts.add_feed_forward(parts.after(values + mixed, layer, "attention_norm"), layer)
    states = parts.norm(values, weights, "norm") if parts.is_pre else values
    return Memory(states, mask, (masked_mean(states, mask)[:, None],))


class CachedAttention:
    """Attend to all positions so far; the state is their keys and values, each [B, G, C, d]."""

    def __init__(self, config: TransformerDecoderConfig, positions: Positions) -> None:
        self.parts, self.positions = Sublayers(config), positions

    def start(self, rows: Values) -> Values:
        """Return the state before the first step."""
        empty = tf.zeros([rows, self.parts.groups, 0, self.parts.head_width])
        return empty, empty

    def step(self, values: Values, time: Values, state: Nest, weights: Weights) -> tuple[Values, Nest]:
        """Map one position per row [B, 1, D] to [B, 1, D]; return the next state too."""
        place, places = time[None], tf.range(time + 1)
        query, (key, own) = self.parts.project_query(values, weights), self.parts.project_memory(values, weights)
        turn = self.positions.turn(place)
        query, key = rotate(query, turn), rotate(key, turn)
        keys, values = tf.concat([state[0], key], axis=2), tf.concat([state[1], own], axis=2)
        return self.parts.attend(query, keys, values, self.positions.bias(place, places), weights), (keys, values)


class Ssru:
    """ReLU(c_t) of the cell c_t = f_t · c_{t−1} + (1 − f_t) · W x_t, where f_t = σ(W_f x_t + b_f)."""

    def __init__(self, config: TransformerDecoderConfig, positions: Positions) -> None:
        self.width = config.width

    def start(self, rows: Values) -> Values:
        """Return empty cells [B, D]."""
        return tf.zeros([rows, self.width])

    def step(self, values: Values, time: Values, state: Nest, weights: Weights) -> tuple[Values, Nest]:
        """Map one position per row."""
        forget = tf.sigmoid(dense(values[:, 0], weights, "forget"))
        new = dense(values[:, 0], weights, "value")
        cell = new + forget * (state - new)
        return tf.nn.relu(cell)[:, None], cell


class AverageAttention:
    """i · x_t + f · g_t, where g_t = FFN(mean of x up to t) and [i; f] = σ(W [x_t; g_t] + b)."""

    def __init__(self, config: TransformerDecoderConfig, positions: Positions) -> None:
        self.parts, self.width = Sublayers(config), config.width

    def start(self, rows: Values) -> Values:
        """Return empty sums [B, D]."""
        return tf.zeros([rows, self.width])

    def step(self, values: Values, time: Values, state: Nest, weights: Weights) -> tuple[Values, Nest]:
        """Map one position per row."""
        total = state + values[:, 0]
        mean = (total / tf.cast(time + 1, tf.float32))[:, None]
        mean = self.parts.feed_forward(mean, within(weights, "feed_forward"))
        gates = tf.sigmoid(dense(tf.concat([values, mean], axis=-1), weights, "gate"))
        own, average = tf.split(gates, 2, axis=-1)
        return own * values + average * mean, total


MIXERS: dict[str, Callable[[TransformerDecoderConfig, Positions], "CachedAttention | Ssru | AverageAttention"]] = {
    "attention": CachedAttention,
    "ssru": Ssru,
    "average": AverageAttention,
}


class TransformerDecoder:
    """A decoder: call `start` once, then `step`; the state has that of each layer's mixer."""

    def __init__(self, config: TransformerDecoderConfig, weights: Weights, positions: Positions) -> None:
        self.config, self.weights, self.positions = config, weights, positions
        self.parts = Sublayers(config)
        self.mixer = MIXERS[config.mixer.kind](config, positions)
        self.layers = [within(weights, f"layers.{index}") for index in range(config.layers)]

    def start(self, memory: Memory) -> tuple[Values, Nest]:
        """Return (context, state): each layer's keys and values of the memory and its bias, and empty states."""
        read = tuple(
            self.parts.project_memory(memory.states, within(layer, "memory_attention")) for layer in self.layers
        )
        rows = tf.shape(memory.states)[0]
        return (read, hide(~memory.mask)[:, None, None, :]), tuple(self.mixer.start(rows) for _ in self.layers)

    def step(self, token: Values, time: Values, states: Nest, context: Nest) -> tuple[Values, Nest]:
        """Read one token per row [B] at position `time`; return hidden vectors [B, D] and the next state."""
        read, bias = context
        values = embed_at(token[:, None], time[None], self.config, self.weights, self.positions)
        afters = []
        for layer, memory, state in zip(self.layers, read, states, strict=True):
            normed = self.parts.before(values, layer, "self_norm")
            mixed, after = self.mixer.step(normed, time, state, within(layer, "self_attention"))
            values = self.parts.after(values + mixed, layer, "self_norm")
            attention = within(layer, "memory_attention")
            query = self.parts.project_query(self.parts.before(values, layer, "memory_norm"), attention)
            keys, states_of_memory = memory
            values = values + self.parts.attend(query, keys, states_of_memory, bias, attention)
            values = self.parts.add_feed_forward(self.parts.after(values, layer, "memory_norm"), layer)
            afters.append(after)
        hidden = self.parts.norm(values, self.weights, "norm") if self.parts.is_pre else values
        return hidden[:, 0], tuple(afters)
