"""TensorFlow, imported at first use, and functions of all parts: dense layers, embeddings, masks.

Weights keep calque's names and layout, so that each function can be compared with its module in calque.nn.
"""

import importlib
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

from calque.errors import UsageError

# TensorFlow has no type hints: these names are for readers, and mypy does not check them.
Values: TypeAlias = Any
"""A tensor of TensorFlow."""
Nest: TypeAlias = Any
"""A tensor, or tensors in nested tuples."""
Module: TypeAlias = Any
"""A tf.Module."""
Weights: TypeAlias = Mapping[str, Values]
"""Variables by their names in the state dict of a part of the model."""


class _Tensorflow:
    """TensorFlow, imported on first use: it takes seconds, and the rest of calque does not need it."""

    def __getattr__(self, name: str) -> Any:
        return getattr(library(), name)


tf: Any = _Tensorflow()


@cache
def library() -> Any:
    """Return TensorFlow; raise UsageError with the command that installs it if it is missing."""
    # Otherwise it writes messages about GPUs to standard error.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        with _silenced():
            return importlib.import_module("tensorflow")
    except ImportError as error:
        raise UsageError(f"TensorFlow cannot be imported ({error}); install it with: pip install tensorflow") from None


@contextmanager
def _silenced() -> Iterator[None]:
    """Hide what the C++ library writes to standard error before it reads its settings."""
    try:
        standard_error = os.dup(2)
    except OSError:  # there is none
        yield
        return
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(standard_error, 2)
        os.close(standard_error)


@dataclass(frozen=True)
class Memory:
    """The output of an encoder: `states` [B, S, D], `mask` [B, S] bool, `summary` of parts [B, L, D']."""

    states: Values
    mask: Values
    summary: tuple[Values, ...]


def within(weights: Weights, prefix: str) -> Weights:
    """Return the weights whose names begin with `prefix` and a dot, by the rest of their names."""
    start = f"{prefix}."
    return {name.removeprefix(start): value for name, value in weights.items() if name.startswith(start)}


def dense(values: Values, weights: Weights, name: str) -> Values:
    """Map values [.., I] by a matrix [O, I], and a bias [O] if there is one, to [.., O]."""
    return add_bias(tf.matmul(values, weights[f"{name}.weight"], transpose_b=True), weights, f"{name}.bias")


def add_bias(values: Values, weights: Weights, name: str) -> Values:
    """Return values [.., O] plus the bias of that name, if there is one."""
    return values + weights[name] if name in weights else values


def embed(tokens: Values, weights: Weights, scaled: bool = True) -> Values:
    """Return the rows [.., D] of the table `embedding.weight` [V, D] for tokens [..], times √D if `scaled`."""
    table = weights["embedding.weight"]
    vectors = tf.gather(table, tokens)
    return vectors * math.sqrt(table.shape[1]) if scaled else vectors


def log_probs(hidden: Values, head: Weights) -> Values:
    """Return log-probabilities [.., V] of hidden vectors [.., D]: the softmax head."""
    return tf.nn.log_softmax(dense(hidden, head, "projection"), axis=-1)


def hide(hidden: Values) -> Values:
    """Return a bias: −inf where `hidden` is true, else 0."""
    return tf.where(hidden, tf.constant(-math.inf), tf.constant(0.0))


def masked_mean(values: Values, mask: Values) -> Values:
    """Return the mean [B, D] of values [B, S, D] where `mask` [B, S] is true."""
    kept = tf.cast(mask, values.dtype)
    return tf.reduce_sum(values * kept[:, :, None], axis=1) / tf.reduce_sum(kept, axis=1)[:, None]


def unfold(values: Values, *sizes: int) -> Values:
    """Split the last axis into axes of `sizes`: [.., N] -> [.., *sizes], their product being N."""
    return tf.reshape(values, tf.concat([tf.shape(values)[:-1], sizes], axis=0))
