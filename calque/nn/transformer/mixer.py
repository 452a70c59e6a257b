"""What mixes the target's own positions in a decoder layer: self-attention, or something cheaper in its place.

All positions at once in training, with a state a row in search.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from calque.nn.transformer.positions import Turn


@dataclass(frozen=True)
class Sight:
    """What all layers of a side are told in one pass, of tokens at `position` [T], or [R, 1] of R rows in a step.

    `bias` [.., 1 or H, T, C] hides places and tells distances, `turn` is what queries and keys are turned by; both
    None where nothing attends.
    """

    position: Tensor
    bias: Tensor | None = None
    turn: Turn | None = None


class Mixer(nn.Module, ABC):
    """Mix each target position with those before it: `mix` computes all positions at once, `step` one by one."""

    attends = False
    """Whether bias and turn are read."""

    @abstractmethod
    def mix(self, values: Tensor, sight: Sight) -> Tensor:
        """Map [B, T, D] to [B, T, D]."""

    @abstractmethod
    def start(self, like: Tensor) -> Any:
        """Return the state, before the first step, of as many rows as `like` [R, ..] has, of its type."""

    @abstractmethod
    def step(self, values: Tensor, state: Any, sight: Sight) -> tuple[Tensor, Any]:
        """Map one position a row [R, 1, D] to [R, 1, D] and give the next state."""

    def num_places(self, state: Any) -> int:
        """Return how many places C the next step attends to."""
        return 0
