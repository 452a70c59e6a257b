"""Ranks: processes that train one model together, each with a share of every update.

All ranks read the same data in the same order, so each can count the target tokens of the whole update.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from calque.batch import Batch
from calque.training.gradients.forked import share_out
from calque.training.gradients.here import Gradients


def _alone(value: Tensor) -> Tensor:
    return value


@dataclass(frozen=True)
class Ranks:
    """The number of this process among those that train one model, and the number of all.

    `sum` returns the sum of a tensor over all ranks, which is the same on each; all ranks must make the same calls with
    the same shapes. The first rank (0) validates, writes the files and decides when the run ends.
    """

    rank: int = 0
    size: int = 1
    sum: Callable[[Tensor], Tensor] = _alone

    @property
    def is_first(self) -> bool:
        """Return whether this is the rank that validates and writes files."""
        return self.rank == 0

    def agree(self, is_complete: bool, signal: int) -> tuple[bool, int]:
        """Return whether the run is complete on the first rank, and a signal that any rank has received, or 0."""
        if self.size == 1:
            return is_complete, signal
        received = torch.zeros(self.size + 1, dtype=torch.int64)
        received[self.rank], received[-1] = signal, is_complete and self.is_first
        *signals, complete = self.sum(received).tolist()
        return bool(complete), max(signals)


class GradientsOfRanks(Gradients):
    """Compute the gradients of this rank's share of an update, and add those of the other ranks.

    The first rank draws a seed of dropout for every other rank in each update, so a checkpoint needs only the state of
    the first rank.
    """

    def __init__(self, own: Gradients, parameters: Sequence[nn.Parameter], ranks: Ranks) -> None:
        self.own, self.parameters, self.ranks = own, parameters, ranks

    def accumulate(self, micro_batches: Sequence[Batch], tokens: int) -> float:
        """Add the gradients of some micro-batches of an update of `tokens`; return their share of its mean loss."""
        ranks = self.ranks
        seeds = torch.zeros(ranks.size, dtype=torch.int64)
        if ranks.is_first:
            seeds = torch.randint(2**62, (ranks.size,))
        seed = int(ranks.sum(seeds)[ranks.rank])
        if not ranks.is_first:
            torch.manual_seed(seed)
        loss = self.own.accumulate(share_out(micro_batches, ranks.size)[ranks.rank], tokens)
        # As in one process, a parameter that no rank has used has no gradient.
        reached = [parameter.grad is not None for parameter in self.parameters]
        *counts, total = ranks.sum(torch.tensor([*reached, loss], dtype=torch.float64)).tolist()
        for parameter, count in zip(self.parameters, counts, strict=True):
            if count:
                gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                parameter.grad = ranks.sum(gradient)
        return float(total)


def over_ranks(own: Gradients, parameters: Sequence[nn.Parameter], ranks: Ranks) -> Gradients:
    """Return gradients over all ranks, which are `own` itself if there is only one."""
    return own if ranks.size == 1 else GradientsOfRanks(own, parameters, ranks)
