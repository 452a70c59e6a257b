"""Greedy search as a TensorFlow function, equal to calque.search.steps with a beam of one.

Rows that have ended stay in the batch without changes, so that one graph works for every batch.
"""

import math
from collections.abc import Sequence
from typing import Protocol

from calque.exchange.tensorflow.basics import Nest, Values, tf
from calque.ids import BOS, EOS, PAD, UNK
from calque.search.options import SearchConfig


class Scorer(Protocol):
    """Score the next token of every row, one step at a time."""

    def start(self, source_ids: Values) -> tuple[Values, Nest]:
        """Return (context, state) for source ids [B, S]."""

    def step(self, token: Values, time: Values, state: Nest, context: Nest) -> tuple[Values, Nest]:
        """Return (log-probabilities [B, V], next state) after `token` [B], the same number `time` in each row."""


def greedy(
    scorer: Scorer, source_ids: Values, max_length: Values, options: SearchConfig, prefix: Sequence[int] = ()
) -> dict[str, Values]:
    """Return `ids` [B, T] without <s> and </s>, `lengths`, `scores` for ranking and plain `log_probs`, each [B].

    Outputs begin with `prefix` and have at most `max_length` tokens; 0 uses the limit of `options`, which always
    applies.
    """
    limits = max_lengths(tf.math.count_nonzero(source_ids, axis=1, dtype=tf.int32), max_length, options)
    context, state = scorer.start(source_ids)
    nothing = tf.zeros_like(limits)
    history = tf.zeros([tf.size(limits), tf.reduce_max(tf.concat([limits, [0]], axis=0))], tf.int32)
    places = tf.range(tf.shape(history)[1])

    def advance(
        time: Values, token: Values, sums: Values, finished: Values, lengths: Values, history: Values, state: Nest
    ) -> tuple[Values, ...]:
        log_probs, state = scorer.step(token, time, state, context)
        allowed = wished(begun(log_probs, time, prefix), history, time, options)
        scores = forbid(allowed + sums[:, None], options)
        full = limits <= time
        # At its limit a row ends with the model's own score, even if </s> was forbidden.
        token = tf.where(full, EOS, tf.argmax(scores, axis=-1, output_type=tf.int32))
        best = tf.where(full, log_probs[:, EOS] + sums, tf.reduce_max(scores, axis=-1))
        impossible = tf.math.is_inf(best)
        ends = ~finished & ((token == EOS) | impossible)
        lives = ~finished & ~ends
        token = tf.where(lives, token, PAD)
        history = tf.where((places == time) & lives[:, None], token[:, None], history)
        lengths = tf.where(ends & ~impossible, time, lengths)
        return time + 1, token, tf.where(finished, sums, best), finished | ends, lengths, history, state

    first = (tf.constant(0), nothing + BOS, tf.zeros_like(limits, tf.float32), nothing < 0, nothing, history, state)
    _, _, sums, _, lengths, history, _ = tf.while_loop(
        lambda time, token, sums, finished, *rest: ~tf.reduce_all(finished),
        advance,
        first,
        shape_invariants=tf.nest.map_structure(_invariant, first),
    )
    longest = tf.reduce_max(tf.concat([lengths, [0]], axis=0))
    ids = tf.where(places < lengths[:, None], history, PAD)[:, :longest]
    return {"ids": ids, "lengths": lengths, "scores": sums / divisor(lengths + 1, options), "log_probs": sums}


def forced(scorer: Scorer, source_ids: Values, inputs: Values) -> Values:
    """Return log-probabilities [B, T, V] of the token after each of the target inputs [B, T], which begin with <s>."""
    context, state = scorer.start(source_ids)
    steps = tf.shape(inputs)[1]
    found = tf.TensorArray(tf.float32, steps)

    def advance(time: Values, found: Values, state: Nest) -> tuple[Values, ...]:
        log_probs, state = scorer.step(inputs[:, time], time, state, context)
        return time + 1, found.write(time, log_probs), state

    _, found, _ = tf.while_loop(
        lambda time, found, state: time < steps,
        advance,
        (tf.constant(0), found, state),
        shape_invariants=(tf.TensorShape([]), tf.TensorShape(None), tf.nest.map_structure(_invariant, state)),
    )
    # [T, B, V] -> [B, T, V]
    return tf.transpose(found.stack(), [1, 0, 2])


def max_lengths(source_lengths: Values, max_length: Values, options: SearchConfig) -> Values:
    """Return the maximum number of tokens [B] of each output, without </s>."""
    scaled = tf.cast(tf.cast(source_lengths, tf.float64) * options.max_length_ratio, tf.int32)
    limits = tf.maximum(scaled + options.max_length_extra, options.min_length)
    return tf.where(max_length > 0, tf.minimum(limits, max_length), limits)


def divisor(lengths: Values, options: SearchConfig) -> Values:
    """Return the divisors of sums of log-probabilities of `lengths` [B] tokens with </s>."""
    lengths = tf.cast(lengths, tf.float32)
    alpha = 0.0 if options.normalisation == "none" else options.length_penalty
    return tf.pow((lengths + 5) / 6 if options.normalisation == "gnmt" else lengths, alpha)


def forbid(scores: Values, options: SearchConfig) -> Values:
    """Return scores [B, V] without tokens that can never be produced."""
    columns = tf.range(tf.shape(scores)[1])
    never = (columns == PAD) | (columns == BOS)
    return tf.where(never if options.unknown else never | (columns == UNK), -math.inf, scores)


def begun(log_probs: Values, time: Values, prefix: Sequence[int]) -> Values:
    """Return log-probabilities [B, V] with only the next token of `prefix`, at its own score, until the prefix ends."""
    if not prefix:
        return log_probs
    wanted = tf.constant(prefix, tf.int32)[tf.minimum(time, len(prefix) - 1)]
    others = tf.range(tf.shape(log_probs)[1]) != wanted
    return tf.where((time < len(prefix)) & others, -math.inf, log_probs)


def wished(log_probs: Values, history: Values, time: Values, options: SearchConfig) -> Values:
    """Return log-probabilities [B, V] after the constraints of the recipe, with `time` tokens of history [B, L].

    A constraint that would forbid all tokens of a row leaves its best token.
    """
    columns = tf.range(tf.shape(log_probs)[1])
    if options.no_repeat_ngram or options.min_length:
        log_probs = tf.where((columns == PAD) | (columns == BOS), -math.inf, log_probs)
    if options.no_repeat_ngram:
        log_probs = _yield(log_probs, _without_repeats(log_probs, history, time, options.no_repeat_ngram))
    if options.min_length:
        too_short = (columns == EOS) & (time < options.min_length)
        log_probs = _yield(log_probs, tf.where(too_short, -math.inf, log_probs))
    return log_probs


def _without_repeats(log_probs: Values, history: Values, time: Values, length: int) -> Values:
    """Forbid the token that would complete a sequence of `length` tokens that the row already contains."""
    starts = tf.range(tf.maximum(time - length + 1, 0))
    # [B, L] -> [B, W, length], every sequence so far
    windows = tf.gather(history, starts[:, None] + tf.range(length), axis=1)
    last = tf.gather(history, tf.maximum(time - length + 1 + tf.range(length - 1), 0), axis=1)
    seen = tf.reduce_all(windows[:, :, :-1] == last[:, None], axis=-1)
    forbidden = tf.where(seen, windows[:, :, -1], PAD)
    rows = tf.broadcast_to(tf.range(tf.shape(forbidden)[0])[:, None], tf.shape(forbidden))
    places = tf.reshape(tf.stack([rows, forbidden], axis=-1), [-1, 2])
    return tf.tensor_scatter_nd_update(log_probs, places, tf.fill([tf.shape(places)[0]], -math.inf))


def _yield(before: Values, after: Values) -> Values:
    """Return `after`, with the best token of `before` for rows [B, V] that have none left."""
    best = tf.one_hot(tf.argmax(before, axis=-1), tf.shape(before)[1], on_value=True, off_value=False)
    nothing = tf.reduce_max(after, axis=-1, keepdims=True) == -math.inf
    return tf.where(nothing & best, before, after)


def _invariant(value: Nest) -> Values:
    """Return the shape of a value that is constant in the loop: rows and the places of a cache are free."""
    free = (0, 2) if len(value.shape) == 4 else (0,)
    return tf.TensorShape([None if axis in free else size for axis, size in enumerate(value.shape)])
