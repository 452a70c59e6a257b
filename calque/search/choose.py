"""The choice of the candidates of a step, and the end of a sentence: greedy and beam search, and their protocol.

The loop in `calque.search.steps` works with any `Choose`, including your own.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from calque.ids import EOS, PAD
from calque.rows import Record
from calque.search.largest import largest
from calque.search.lengths import divisor, largest_divisor
from calque.search.options import SearchConfig
from calque.search.processors import IMPOSSIBLE


@dataclass(frozen=True)
class Branches:
    """The chosen candidates of one step, for each of B sentences.

    `parents` and `tokens` [B, K]: the hypothesis that each survivor continues, and the token that it adds; `sums`
    [B, K]: the sums of their log-probabilities (−inf: no hypothesis). `ended` [B, W]: the sum with </s> of each parent
    that ends in this step, else −inf.
    """

    parents: Tensor
    tokens: Tensor
    sums: Tensor
    ended: Tensor


class Choose(Protocol):
    """Choose the survivors of each step, and decide when a sentence is finished."""

    @property
    def width(self) -> int:
        """Return K, the number of hypotheses that each sentence keeps."""

    def start(self, num_sentences: int) -> Record:
        """Return the first state: a record with a row for each sentence, or None if it needs no state."""

    def branch(self, scores: Tensor, sums: Tensor, state: Record) -> tuple[Branches, Record]:
        """Choose from `scores` [B, W, V], the sums of all candidates, which continue hypotheses with `sums` [B, W].

        W is 1 at the first step of a search, and K after it. Returns the next state too, with a row for each sentence.
        """

    def is_finished(self, best: Tensor, sums: Tensor, times: Tensor, limits: Tensor) -> Tensor:
        """Return [B] bool: true for sentences in which no survivor can change the outcome, or is likely to.

        `best` [B, K]: the normalised scores of the best ended outputs, best first; `sums` [B, K]: those of the
        survivors, which have `times` + 1 tokens; `times` [B] and `limits` [B]: tokens before this step, and at most.
        """


@dataclass(frozen=True)
class Greedy:
    """Greedy search: take the best candidate. If it is </s>, the sentence is finished."""

    width = 1

    def start(self, num_sentences: int) -> None:
        """Return None: no state is needed."""

    def branch(self, scores: Tensor, sums: Tensor, state: None) -> tuple[Branches, None]:
        """Choose the best token of each sentence."""
        best, places = largest(scores.flatten(1), 1)
        parents, tokens = places // scores.shape[2], places % scores.shape[2]
        ends = tokens == EOS
        ended = best.where(ends, IMPOSSIBLE)
        return Branches(parents, tokens, best.masked_fill(ends, IMPOSSIBLE), ended), None

    def is_finished(self, best: Tensor, sums: Tensor, times: Tensor, limits: Tensor) -> Tensor:
        """Return whether the sentence has ended, or has no living hypothesis."""
        return (best[:, 0] > IMPOSSIBLE) | (sums[:, 0] == IMPOSSIBLE) | (limits <= times)


@dataclass(frozen=True)
class Beam:
    """Beam search: keep the K best. Of 2K candidates, those that end and are among the best K join the ended ones.

    At most K of the best 2K candidates end, so K others remain.
    """

    options: SearchConfig

    @property
    def width(self) -> int:
        """Return the beam."""
        return self.options.beam

    def start(self, num_sentences: int) -> None:
        """Return None: no state is needed."""

    def branch(self, scores: Tensor, sums: Tensor, state: None) -> tuple[Branches, None]:
        """Choose the best candidates of each sentence."""
        beam = self.options.beam
        num_sentences, width, num_tokens = scores.shape
        best, places = largest(scores.flatten(1), min(2 * beam, width * num_tokens))
        missing = 2 * beam - best.shape[1]
        if missing:  # the vocabulary is smaller than the beam
            best = torch.nn.functional.pad(best, (0, missing), value=IMPOSSIBLE)
            places = torch.nn.functional.pad(places, (0, missing), value=PAD)
        parents, tokens = places // num_tokens, places % num_tokens
        ends = tokens == EOS
        ended = scores.new_full([num_sentences, width], IMPOSSIBLE).scatter_reduce(
            1, parents[:, :beam], best.where(ends, IMPOSSIBLE)[:, :beam], "amax"
        )
        best = best.masked_fill(ends, IMPOSSIBLE)
        living = ends.int().argsort(dim=1, stable=True)[:, :beam]
        return Branches(parents.gather(1, living), tokens.gather(1, living), best.gather(1, living), ended), None

    def is_finished(self, best: Tensor, sums: Tensor, times: Tensor, limits: Tensor) -> Tensor:
        """Return the sentences whose search is certainly over, or probably over, or that have reached their limit.

        Log-probabilities only fall, so a hypothesis' sum divided by the largest divisor that it can still reach is an
        upper bound of its score: if it is not better than the last of the n best that ended, the search is certainly
        over. If scores grow with length, the bound is loose and the search would continue for little gain. So it is
        also over once K have ended and the best survivor would not beat the worst of them by ending next at no cost.
        """
        shortest = times + 2  # tokens of a survivor that ends next, with </s>
        living = sums[:, 0]
        certain = living / largest_divisor(shortest, limits + 1, self.options) <= best[:, self.options.n_best - 1]
        worst = best[:, -1]
        likely = (worst > IMPOSSIBLE) & (living / divisor(shortest, self.options) <= worst)
        return certain | likely | (limits <= times)


def chosen_by(options: SearchConfig) -> Choose:
    """Return the `Choose` of search settings."""
    return Beam(options) if options.beam > 1 else Greedy()
