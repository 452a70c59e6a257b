"""Several models with one target vocabulary, searched as one: their next-token distributions are averaged.

Mean of probabilities, or normalised mean of log-probabilities (the geometric mean; Sutskever et al. 2014).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from calque.batch import Source
from calque.errors import UsageError
from calque.ids import UNK
from calque.model import Seq2Seq
from calque.rows import Record

Space = Literal["prob", "log"]


class Ensemble(nn.Module):
    """A Scorer of several members, whose source, context and state are tuples with one part per member.

    Members may differ in architecture and source vocabulary; their target vocabulary must be the same. A copied form
    has the same column in every member that copies (`calque.text.sharing`), and no probability in the others.
    """

    def __init__(self, members: Sequence[Seq2Seq], space: Space = "prob") -> None:
        """Raise UsageError if the target vocabularies of the members, at least one, differ in size."""
        super().__init__()
        assert members, "an ensemble has members"
        sizes = [member.decoder.embedding.vocab_size for member in members]
        if len(set(sizes)) > 1:
            raise UsageError(f"the models of an ensemble must share the target vocabulary; they have {sizes} tokens")
        self.members = nn.ModuleList(members)
        self.vocab_size = sizes[0]
        self.combine = COMBINATIONS[space]

    def start(self, source: tuple[Source, ...]) -> tuple[tuple[Record, ...], tuple[Record, ...]]:
        """Encode B sentences by every member."""
        started = [member.start(part) for member, part in zip(self._models(), source, strict=True)]
        return tuple(context for context, _ in started), tuple(state for _, state in started)

    def step(
        self, token: Tensor, state: tuple[Record, ...], context: tuple[Record, ...]
    ) -> tuple[Tensor, tuple[Record, ...]]:
        """Read one token per row [R]; return log-probabilities [R, V + X] and the members' next states."""
        # A member without copying has no columns beyond the vocabulary.
        known = token.masked_fill(token >= self.vocab_size, UNK)
        steps = [
            member.step(known, own, fixed) for member, own, fixed in zip(self._models(), state, context, strict=True)
        ]
        width = max(log_probs.shape[1] for log_probs, _ in steps)
        scores = torch.stack(
            [
                nn.functional.pad(log_probs.float(), (0, width - log_probs.shape[1]), value=float("-inf"))
                for log_probs, _ in steps
            ]
        )
        return self.combine(scores), tuple(after for _, after in steps)

    def _models(self) -> Iterator[Seq2Seq]:
        for member in self.members:
            assert isinstance(member, Seq2Seq)
            yield member


def mean_of_probabilities(log_probs: Tensor) -> Tensor:
    """Return the logarithm [R, V] of the members' mean probability, from log-probabilities [members, R, V]."""
    return log_probs.logsumexp(dim=0) - math.log(log_probs.shape[0])


def mean_of_logarithms(log_probs: Tensor) -> Tensor:
    """Return the normalised mean log-probabilities [R, V]; a token that is impossible for one member is impossible."""
    return log_probs.mean(dim=0).log_softmax(dim=-1)


COMBINATIONS: dict[Space, Callable[[Tensor], Tensor]] = {"prob": mean_of_probabilities, "log": mean_of_logarithms}
