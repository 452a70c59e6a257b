"""The interface between search and what scores the next token: a model, an ensemble, an engine or a wrapper."""

from typing import Protocol

from torch import Tensor

from calque.rows import Record


class Scorer(Protocol):
    """Scores the next token of every hypothesis, one step at a time."""

    def start(self, source: Record) -> tuple[Record, Record]:
        """Return (context, state), two records of rows (`calque.rows`) with a row for each of the B sentences."""

    def step(self, token: Tensor, state: Record, context: Record) -> tuple[Tensor, Record]:
        """Return (log-probabilities [R, V] in any float type, state after `token` [R] int64).

        Row b·K + k of `token` and `state` is hypothesis k of row b of `context`: K is the ratio of their rows. It is
        1 at the first step, where every token is <s>. A state is used once, and its buffers may be written to.
        """
