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
from calque.rows import Record, filled, select
from calque.search.largest import largest
from calque.search.options import SearchConfig

IMPOSSIBLE = float("-inf")


class Processor(Protocol):
    """Changes the scores of the next tokens of every hypothesis.

    Settings that differ from row to row belong in the state: sentences may join a search with settings of their own.
    """

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
    """Forbid </s> to a hypothesis of fewer than `length` tokens; 0 forbids nothing."""

    length: int

    def start(self, source: Record) -> Tensor:
        """Return the length [B] for each sentence: those that join later may have another."""
        return filled(source, self.length)

    def apply(self, log_probs: Tensor, history: Tensor, state: Tensor) -> Tensor:
        """Forbid </s> to the hypotheses that are too short."""
        log_probs[:, EOS] = log_probs[:, EOS].masked_fill(_positions(history) < state, IMPOSSIBLE)
        return log_probs

    def advance(self, state: Tensor, parents: Tensor, tokens: Tensor) -> Tensor:
        """Move the lengths with the hypotheses."""
        return select(state, parents)


@dataclass(frozen=True)
class WindowLengths:
    """The `lengths` [R] of the sequences that may not occur twice, none of which is longer than `longest`."""

    lengths: Tensor
    longest: int


@dataclass(frozen=True)
class NoRepeat:
    """Forbid the token that would complete a sequence of `length` tokens that the hypothesis already contains.

    A length of 0 forbids nothing.
    """

    length: int

    def start(self, source: Record) -> WindowLengths:
        """Return the length for each sentence: those that join later may have another."""
        return WindowLengths(filled(source, self.length), self.length)

    def apply(self, log_probs: Tensor, history: Tensor, state: WindowLengths) -> Tensor:
        """Forbid the tokens that followed an earlier occurrence of the last `length` − 1 tokens."""
        num_tokens = history.shape[1]
        longest = min(state.longest, num_tokens)
        # Comparing takes time in proportion to `longest` × t, so it starts when a sequence can be complete.
        if not longest or int(state.lengths.min()) > num_tokens:
            return log_probs
        lengths, offsets = state.lengths[:, None], torch.arange(longest - 1, device=history.device)
        # Each token with those before it, where -1 stands for no token: [R, t] -> [R, t, longest]
        padded = torch.nn.functional.pad(history, (longest - 1, 0), value=-1)
        windows = padded.unfold(1, longest, 1)
        last = padded.gather(1, _positions(history)[:, None] + offsets)
        # A row with shorter sequences compares fewer tokens, the latest.
        seen = ((windows[:, :, :-1] == last[:, None]) | (offsets < longest - lengths)[:, None]).all(-1)
        seen &= (lengths > 0) & (lengths <= num_tokens)
        # PAD can never be produced, so it takes the place of tokens that are not forbidden.
        return log_probs.scatter_(1, history.where(seen, PAD), IMPOSSIBLE)

    def advance(self, state: WindowLengths, parents: Tensor, tokens: Tensor) -> WindowLengths:
        """Move the lengths with the hypotheses."""
        return select(state, parents)


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


def require_joinable(running: Sequence[Processor], joining: Sequence[Processor], states: Sequence[Record]) -> None:
    """Raise UsageError if sentences with the processors `joining` cannot join a search with those that are `running`.

    `states` are the first states of `joining`. One without a state must equal that of the search, which applies to all.
    """
    kinds = [[_kind(processor) for processor in processors] for processors in (running, joining)]
    if kinds[0] != kinds[1]:
        raise UsageError(
            f"the search has the processors {', '.join(kinds[0]) or 'none'}, and the sentences that join have "
            f"{', '.join(kinds[1]) or 'none'}: give them the same kinds in the same order"
        )
    for old, new, state in zip(running, joining, states, strict=True):
        if state is None and old is not new and old != new:
            raise UsageError(
                f"{_kind(new)} has no state, so the sentences that join would get the settings of the search: "
                "give them the same processor, or keep its settings in its state, one row per sentence"
            )


def _kind(processor: Processor) -> str:
    inner = f"({_kind(processor.processor)})" if isinstance(processor, Yielding) else ""
    return f"{type(processor).__name__}{inner}"


def _positions(history: Tensor) -> Tensor:
    return (history != PAD).sum(1)
