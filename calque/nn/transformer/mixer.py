"""The interface of mixers, which mix target positions in a decoder layer: self-attention, or a faster substitute.

In training a mixer computes all positions at once; in search it has a state per row.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn

from calque.nn.transformer.positions import Turn
from calque.rows import Record


@dataclass(frozen=True)
class Sight:
    """What all layers read in one pass: the `position` [T] of the tokens, or [R, 1] for R rows in a step.

    `bias` [.., 1 or H, T, C] is added to scores: it hides places and may depend on distances. `turn` rotates queries
    and keys. Both are None if the mixer does not attend.
    """

    position: Tensor
    bias: Tensor | None = None
    turn: Turn | None = None


class Mixer(nn.Module, ABC):
    """Base of mixers: `mix` mixes each target position with those before it, `step` does so for the next position."""

    attends = False
    """Whether the mixer reads bias and turn."""

    @abstractmethod
    def mix(self, values: Tensor, sight: Sight) -> Tensor:
        """Map [B, T, D] to [B, T, D]."""

    @abstractmethod
    def start(self, like: Tensor) -> Record:
        """Return the state before the first step, with the rows and the type of `like` [R, ..]."""

    @abstractmethod
    def step(self, values: Tensor, state: Record, sight: Sight) -> tuple[Tensor, Record]:
        """Map one position per row [R, 1, D] to [R, 1, D]; also return the next state."""

    def num_places(self, state: Record) -> int:
        """Return C, the number of places that the next step attends to."""
        return 0
