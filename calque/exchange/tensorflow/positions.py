"""Positions of a Transformer as TensorFlow functions, equal to calque.nn.transformer.positions.

Frequencies and buckets are copied from there, since both libraries would round them differently.
"""

import math
from collections.abc import Callable, Mapping
from typing import TypeAlias

import torch
from torch import nn

from calque.exchange.tensorflow.basics import Values, Weights, tf
from calque.nn.transformer.positions import Alibi, Learned, Relative, Rotary, Sinusoidal
from calque.nn.transformer.positions import Positions as NoPositions

Turn: TypeAlias = tuple[Values, Values]
"""Cosines and sines that rotate queries and keys, each [T, d/2]."""


class Positions:
    """No position information; a kind overrides one method. `place` is [T] int32, the same for all rows."""

    def check(self, length: Values) -> Values:
        """Return the `length` of a source; stop if there are fewer positions."""
        return length

    def add_to(self, vectors: Values, place: Values) -> Values:
        """Return the vectors [B, T, D] of tokens at `place` plus those of the positions."""
        return vectors

    def turn(self, place: Values) -> Turn | None:
        """Return the rotation of queries and keys at `place`."""
        return None

    def bias(self, place: Values, places: Values) -> Values:
        """Return the bias of the scores [H, T, C] of tokens at `place` for `places` [C]; 0 for none."""
        return tf.constant(0.0)


class AddedWaves(Positions):
    """Add sines and cosines of each position."""

    def __init__(self, module: Sinusoidal) -> None:
        width = module.width
        slope = -math.log(10000.0) / max(1, width // 2 - 1) if module.closed else -2.0 * math.log(10000.0) / width
        self.frequencies, self.first = frequencies(width, slope), module.first

    def add_to(self, vectors: Values, place: Values) -> Values:
        """Return the sum."""
        angles = tf.cast(place + self.first, tf.float32)[:, None] * self.frequencies
        return vectors + tf.concat([tf.sin(angles), tf.cos(angles)], axis=-1)


class AddedRows(Positions):
    """Add a row of a table [limit, D]; an output beyond the limit stays at the last row."""

    def __init__(self, module: Learned, table: Values) -> None:
        self.limit, self.table = module.limit, table

    def check(self, length: Values) -> Values:
        """Stop if a source is longer than the table."""
        message = f"a source may have at most {self.limit} tokens with </s>"
        with tf.control_dependencies([tf.debugging.assert_less_equal(length, self.limit, message=message)]):
            return tf.identity(length)

    def add_to(self, vectors: Values, place: Values) -> Values:
        """Return the sum."""
        return vectors + tf.gather(self.table, tf.minimum(place, self.limit - 1))


class Buckets(Positions):
    """Add the bias of a distance's bucket, from a table [buckets, H], to the scores."""

    def __init__(self, module: Relative, table: Values) -> None:
        self.distance, self.table = module.distance, table
        # All distances beyond the largest share one bucket.
        ahead = torch.arange(-module.distance, module.distance + 1)
        self.buckets = tf.constant(module.bucket(ahead).numpy(), tf.int32)

    def bias(self, place: Values, places: Values) -> Values:
        """Return the biases."""
        ahead = tf.clip_by_value(places - place[:, None], -self.distance, self.distance)
        # [T, C, H] -> [H, T, C]
        return tf.transpose(tf.gather(self.table, tf.gather(self.buckets, ahead + self.distance)), [2, 0, 1])


class Turned(Positions):
    """Rotate queries and keys: value i of the first half of a head forms a pair with value i of the second."""

    def __init__(self, module: Rotary) -> None:
        self.frequencies = frequencies(module.head_width, -2.0 * math.log(module.base) / module.head_width)

    def turn(self, place: Values) -> Turn:
        """Return cosines and sines."""
        angles = tf.cast(place, tf.float32)[:, None] * self.frequencies
        return tf.cos(angles), tf.sin(angles)


class Slopes(Positions):
    """Lower each score by slope · distance."""

    def __init__(self, module: Alibi) -> None:
        self.slopes = tf.constant(module.slopes.numpy())

    def bias(self, place: Values, places: Values) -> Values:
        """Return the bias."""
        return -self.slopes * tf.cast(tf.abs(places - place[:, None]), tf.float32)


def rotate(values: Values, turn: Turn | None) -> Values:
    """Rotate values [B, H, T, d]; None leaves them unchanged."""
    if turn is None:
        return values
    cosine, sine = turn
    first, second = tf.split(values, 2, axis=-1)
    return tf.concat([first * cosine - second * sine, second * cosine + first * sine], axis=-1)


def frequencies(width: int, slope: float) -> Values:
    """Return exp(i · slope) for each i below half of `width`."""
    return tf.constant(torch.exp(torch.arange(width // 2, dtype=torch.float32) * slope).numpy())


def build_positions(module: nn.Module, weights: Weights) -> Positions:
    """Return the positions that `module` has; `weights` are those of its part."""
    return KINDS[type(module)](module, weights.get("positions.weight"))


KINDS: Mapping[type[nn.Module], Callable[[Values, Values], Positions]] = {
    Sinusoidal: lambda module, table: AddedWaves(module),
    Learned: AddedRows,
    Relative: Buckets,
    Rotary: lambda module, table: Turned(module),
    Alibi: lambda module, table: Slopes(module),
    NoPositions: lambda module, table: Positions(),
}
