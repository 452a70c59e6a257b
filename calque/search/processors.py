"""What an output must or must not hold, as changes of the log-probabilities before the best are chosen.

A processor takes possibilities away (sets them to −inf), so a score that search reports stays the model's own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from calque.errors import UsageError
from calque.ids import EOS, PAD
from calque.rows import select
from calque.search.largest import largest
from calque.search.options import SearchConfig

IMPOSSIBLE = float("-inf")


class Processor(Protocol):
    """Change the scores of the next tokens of every hypothesis."""

    def start(self, source: Any) -> Any:
        """Return the first state: a record with a row for each sentence, or None where none is needed."""

    def apply(self, log_probs: Tensor, history: Tensor, state: Any) -> Tensor:
        """Return the changed `log_probs` [R, V] float32, which may be written to.

        `history` [R, t] holds the tokens so far, PAD on the right: a row's position is the number of its tokens.
        """

    def advance(self, state: Any, parents: Tensor, tokens: Tensor) -> Any:
        """Return the state of the survivors: rows `parents` [R'] of `state`, each followed by `tokens` [R']."""


@dataclass(frozen=True)
class MinimumLength:
    """Forbid </s> to a hypothesis of fewer than `length` tokens."""

    length: int

    def start(self, source: Any) -> None:
        """Return None: no state is needed."""

    def apply(self, log_probs: Tensor, history: Tensor, state: None) -> Tensor:
        """Take </s> from the hypotheses that are too short."""
        log_probs[:, EOS] = log_probs[:, EOS].masked_fill(_positions(history) < self.length, IMPOSSIBLE)
        return log_probs

    def advance(self, state: None, parents: Tensor, tokens: Tensor) -> None:
        """Return None: no state is needed."""


@dataclass(frozen=True)
class NoRepeat:
    """Forbid the token that would end a sequence of `length` tokens that the hypothesis already holds."""

    length: int

    def start(self, source: Any) -> None:
        """Return None: no state is needed."""

    def apply(self, log_probs: Tensor, history: Tensor, state: None) -> Tensor:
        """Take the tokens that followed an earlier occurrence of the last `length` − 1 tokens."""
        if history.shape[1] < self.length:
            return log_probs
        windows = history.unfold(1, self.length, 1)  # [R, t] -> [R, t - length + 1, length]
        back = torch.arange(1 - self.length, 0, device=history.device)
        last = history.gather(1, (_positions(history)[:, None] + back).clamp(min=0))
        seen = (windows[:, :, :-1] == last[:, None]).all(-1)
        # PAD can never be produced, so whatever is not to be forbidden is sent there.
        forbidden = windows[:, :, -1].where(seen, PAD)
        return log_probs.scatter_(1, forbidden, IMPOSSIBLE)

    def advance(self, state: None, parents: Tensor, tokens: Tensor) -> None:
        """Return None: no state is needed."""


@dataclass(frozen=True, eq=False)
class ForcedPrefix:
    """Make output b begin with the tokens of row b of `tokens` [B, P] int64, padded with PAD on the right.

    The model's scores of these tokens count. A prefix longer than the output may be is cut there.
    """

    tokens: Tensor

    def start(self, source: Any) -> Tensor:
        """Return the prefixes: they move with the hypotheses."""
        return self.tokens

    def apply(self, log_probs: Tensor, history: Tensor, state: Tensor) -> Tensor:
        """Leave only the wanted token to the rows that are within their prefix."""
        if state.shape[0] != log_probs.shape[0]:
            raise UsageError(
                f"ForcedPrefix was given {self.tokens.shape[0]} prefixes for another number of sentences: "
                "give one row a sentence, all PAD (0) where nothing is forced"
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
    """Follow a processor, but leave a hypothesis the best of what it had where it would be left with nothing.

    For wishes, such as no repeated sequence, that must give way to a demand, such as a forced prefix.
    """

    processor: Processor

    def start(self, source: Any) -> Any:
        """Return the state of the processor within."""
        return self.processor.start(source)

    def apply(self, log_probs: Tensor, history: Tensor, state: Any) -> Tensor:
        """Apply the processor within, then give the best token back to the rows that have none left."""
        score, token = largest(log_probs, 1)
        log_probs = self.processor.apply(log_probs, history, state)
        nothing = log_probs.amax(-1, keepdim=True) == IMPOSSIBLE
        return log_probs.scatter(1, token, score.where(nothing, log_probs.gather(1, token)))

    def advance(self, state: Any, parents: Tensor, tokens: Tensor) -> Any:
        """Advance the processor within."""
        return self.processor.advance(state, parents, tokens)


def wishes(options: SearchConfig) -> Sequence[Processor]:
    """Return the processors that `options` ask for; a later one gives way to those before it."""
    processors: list[Processor] = []
    if options.no_repeat_ngram:
        processors.append(Yielding(NoRepeat(options.no_repeat_ngram)))
    if options.min_length:
        processors.append(Yielding(MinimumLength(options.min_length)))
    return processors


def _positions(history: Tensor) -> Tensor:
    return (history != PAD).sum(1)
