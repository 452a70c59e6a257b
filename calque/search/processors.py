"""Constraints on outputs, as changes of the log-probabilities before the best are chosen.

A processor only sets log-probabilities to −inf, so the score that search reports is the model's own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from calque.errors import UsageError
from calque.ids import EOS, PAD
from calque.rows import Record, select
from calque.search.largest import largest
from calque.search.options import SearchConfig

IMPOSSIBLE = float("-inf")


class Processor(Protocol):
    """Changes the scores of the next tokens of every hypothesis."""

    def start(self, source: Record) -> Record:
        """Return the first state: a record with a row for each sentence, or None where none is needed."""

    def apply(self, log_probs: Tensor, history: Tensor, state: Record) -> Tensor:
        """Return the changed `log_probs` [R, V] float32, which may be written to.

        `history` [R, t] are the tokens so far, with PAD on the right: a row's position is the number of its tokens.
        """

    def advance(self, state: Record, parents: Tensor, tokens: Tensor) -> Record:
        """Return the state of the survivors: rows `parents` [R'] of `state`, each followed by `tokens` [R']."""


@dataclass(frozen=True)
class MinimumLength:
    """Forbid </s> to a hypothesis of fewer than `length` tokens."""

    length: int

    def start(self, source: Record) -> None:
        """Return None: no state is needed."""

    def apply(self, log_probs: Tensor, history: Tensor, state: None) -> Tensor:
        """Forbid </s> to the hypotheses that are too short."""
        log_probs[:, EOS] = log_probs[:, EOS].masked_fill(_positions(history) < self.length, IMPOSSIBLE)
        return log_probs

    def advance(self, state: None, parents: Tensor, tokens: Tensor) -> None:
        """Return None: no state is needed."""


@dataclass(frozen=True)
class NoRepeat:
    """Forbid the token that would complete a sequence of `length` tokens that the hypothesis already contains."""

    length: int

    def start(self, source: Record) -> None:
        """Return None: no state is needed."""

    def apply(self, log_probs: Tensor, history: Tensor, state: None) -> Tensor:
        """Forbid the tokens that followed an earlier occurrence of the last `length` − 1 tokens."""
        if history.shape[1] < self.length:
            return log_probs
        windows = history.unfold(1, self.length, 1)  # [R, t] -> [R, t - length + 1, length]
        back = torch.arange(1 - self.length, 0, device=history.device)
        last = history.gather(1, (_positions(history)[:, None] + back).clamp(min=0))
        seen = (windows[:, :, :-1] == last[:, None]).all(-1)
        # PAD can never be produced, so it takes the place of tokens that are not forbidden.
        forbidden = windows[:, :, -1].where(seen, PAD)
        return log_probs.scatter_(1, forbidden, IMPOSSIBLE)

    def advance(self, state: None, parents: Tensor, tokens: Tensor) -> None:
        """Return None: no state is needed."""


@dataclass(frozen=True, eq=False)
class ForcedPrefix:
    """Make output b begin with the tokens of row b of `tokens` [B, P] int64, padded with PAD on the right.

    The model's scores of these tokens count. A prefix that is longer than the longest output is cut there.
    """

    tokens: Tensor

    def start(self, source: Record) -> Tensor:
        """Return the prefixes: they move with the hypotheses."""
        return self.tokens

    def apply(self, log_probs: Tensor, history: Tensor, state: Tensor) -> Tensor:
        """Allow only the next token of the prefix to the rows that are within their prefix."""
        if state.shape[0] != log_probs.shape[0]:
            raise UsageError(
                f"ForcedPrefix was given {self.tokens.shape[0]} prefixes for another number of sentences: "
                "give one row per sentence, all PAD (0) if it has no prefix"
            )
        if not state.shape[1]:
            return log_probs
        position = _positions(history)[:, None]
        wanted = state.gather(1, position.clamp(max=state.shape[1] - 1)).where(position < state.shape[1], PAD)
        score = log_probs.gather(1, wanted)
        return log_probs.masked_fill_(wanted != PAD, IMPOSSIBLE).scatter_(1, wanted, score)

    def advance(self, state: Tensor, parents: Tensor, tokens: Tensor) -> Tensor:
        """Move the prefixes with the hypotheses."""
        return select(state, parents)


@dataclass(frozen=True)
class Yielding:
    """Apply a processor, but allow a hypothesis its best token if the processor would forbid all.

    For preferences, such as no repeated sequence, that a requirement, such as a forced prefix, may override.
    """

    processor: Processor

    def start(self, source: Record) -> Record:
        """Return the state of the inner processor."""
        return self.processor.start(source)

    def apply(self, log_probs: Tensor, history: Tensor, state: Record) -> Tensor:
        """Apply the inner processor, then allow the best token again to the rows that have no token left."""
        score, token = largest(log_probs, 1)
        log_probs = self.processor.apply(log_probs, history, state)
        nothing = log_probs.amax(-1, keepdim=True) == IMPOSSIBLE
        return log_probs.scatter(1, token, score.where(nothing, log_probs.gather(1, token)))

    def advance(self, state: Record, parents: Tensor, tokens: Tensor) -> Record:
        """Advance the inner processor."""
        return self.processor.advance(state, parents, tokens)


def wishes(options: SearchConfig) -> Sequence[Processor]:
    """Return the processors of `options`; an earlier one overrides a later one."""
    processors: list[Processor] = []
    if options.no_repeat_ngram:
        processors.append(Yielding(NoRepeat(options.no_repeat_ngram)))
    if options.min_length:
        processors.append(Yielding(MinimumLength(options.min_length)))
    return processors


def _positions(history: Tensor) -> Tensor:
    return (history != PAD).sum(1)
