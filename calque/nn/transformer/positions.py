"""Position information of a Transformer. A kind consists of a config, a module and a line in the union.

Sinusoidal (Vaswani et al. 2017), learned (Gehring et al. 2017), relative in buckets (Raffel et al. 2020), rotary (Su et
al. 2021), ALiBi (Press et al. 2022), or none.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from calque.config import Config
from calque.errors import UsageError
from calque.nn.embedding import sinusoids

Turn: TypeAlias = tuple[Tensor, Tensor]
"""Cosines and sines by which queries and keys are rotated, each [T, d/2] or [R, 1, T, d/2]."""


@dataclass(frozen=True)
class PartShape:
    """The encoder or decoder for which positions are built: `name` in the recipe, widths and number of heads.

    `spread`: initial standard deviation of token vectors; `sees_ahead`: whether tokens see later tokens.
    """

    name: str
    width: int
    heads: int
    head_width: int
    spread: float
    sees_ahead: bool


class Positions(nn.Module):
    """No position information; kinds override some methods. `position` is [T], or [R, 1] for R rows in a step."""

    acts_on_attention = False
    """Whether the kind has an effect only with self-attention."""
    biases_attention = False
    """Whether the kind adds to the scores of self-attention."""

    def check(self, length: int) -> None:
        """Raise UsageError for a sequence that has more tokens than there are positions."""

    def add_to(self, vectors: Tensor, position: Tensor) -> Tensor:
        """Return the vectors [.., D] of tokens at `position` [..], with position information added."""
        return vectors

    def turn(self, position: Tensor) -> Turn | None:
        """Return the rotation of queries and keys at `position`, the same for every layer, or None."""
        return None

    def biased(self, hidden: Tensor, position: Tensor, places: Tensor) -> Tensor:
        """Return the bias [.., 1 or H, T, C] on the scores of tokens at `position` for `places` [C].

        `hidden` [.., 1, T, C] is the part of the bias that hides places.
        """
        return hidden


class NoPositionsConfig(Config):
    """Use no position information: the mixer depends on the order itself, or the order does not matter."""

    kind: Literal["none"] = "none"
    """No position information: the mixer depends on the order itself, or the order does not matter."""

    def build(self, part: PartShape) -> Positions:
        """Build the module."""
        return Positions()


class SinusoidalConfig(Config):
    """Add sines and cosines of each position."""

    kind: Literal["sinusoidal"] = "sinusoidal"
    """Sines and cosines of each position, added to embeddings (Vaswani et al. 2017)."""
    first: int = Field(default=0, ge=0, le=65_536)
    """Number of the first position (2 in M2M-100)."""
    closed: bool = False
    """Whether the lowest frequency is exactly 1/10000, as in fairseq, instead of slightly higher."""

    def build(self, part: PartShape) -> Positions:
        """Build the module; UsageError for an odd width."""
        if part.width % 2:
            raise UsageError(
                f"{part.name}.width must be even for as many sines as cosines, it is {part.width};"
                f" or set another kind of {part.name}.positions"
            )
        return Sinusoidal(self, part)


class Sinusoidal(Positions):
    """Add sines and cosines of each position."""

    def __init__(self, config: SinusoidalConfig, part: PartShape) -> None:
        super().__init__()
        self.width, self.first, self.closed = part.width, config.first, config.closed

    def add_to(self, vectors: Tensor, position: Tensor) -> Tensor:
        """Add the position vectors."""
        return vectors + sinusoids(position + self.first, self.width, self.closed).to(vectors.dtype)


class LearnedConfig(Config):
    """Add a learned vector for each position."""

    kind: Literal["learned"] = "learned"
    """A learned vector for each position, added to embeddings (Gehring et al. 2017)."""
    limit: int = Field(default=1024, ge=1, le=1_000_000)
    """Number of positions; data.max_length must not be greater."""

    def build(self, part: PartShape) -> Positions:
        """Build the module."""
        return Learned(self, part)


class Learned(Positions):
    """Add a row of a table `weight` [limit, D]."""

    def __init__(self, config: LearnedConfig, part: PartShape) -> None:
        super().__init__()
        self.limit, self.field = config.limit, f"{part.name}.positions.limit"
        self.weight = nn.Parameter(torch.randn(config.limit, part.width) * part.spread)

    def check(self, length: int) -> None:
        """Raise UsageError for a sequence longer than the limit."""
        if length > self.limit:
            raise UsageError(f"{self.field} is {self.limit}: a sequence of {length} tokens is too long")

    def add_to(self, vectors: Tensor, position: Tensor) -> Tensor:
        """Add the rows of the table; tokens of a hypothesis beyond the limit have the last position."""
        return vectors + nn.functional.embedding(position.clamp(max=self.limit - 1), self.weight)


class RelativeConfig(Config):
    """Add a learned number for each distance to the scores; all layers share one table."""

    kind: Literal["relative"] = "relative"
    """A learned number for each distance, added to scores, shared by all layers (Raffel et al. 2020)."""
    buckets: int = Field(default=32, ge=4, le=4_096)
    """Number of groups of distances: each short distance is its own; an encoder has half of them for each direction."""
    distance: int = Field(default=128, ge=3, le=1_000_000)
    """All distances from this one on share a group."""

    def build(self, part: PartShape) -> Positions:
        """Build the module."""
        return Relative(self, part)

    @model_validator(mode="after")
    def _distance_exceeds_half_of_buckets(self) -> "RelativeConfig":
        if self.distance <= self.buckets // 2:
            raise ValueError(f"distance ({self.distance}) must be more than half of buckets ({self.buckets})")
        return self


class Relative(Positions):
    """Add `weight` [buckets, H] of a distance's bucket to the scores."""

    acts_on_attention = biases_attention = True

    def __init__(self, config: RelativeConfig, part: PartShape) -> None:
        super().__init__()
        self.sees_ahead, self.distance = part.sees_ahead, config.distance
        self.weight = nn.Parameter(torch.randn(config.buckets, part.heads) * part.width**-0.5)

    def bucket(self, ahead: Tensor) -> Tensor:
        """Return the bucket of each distance [..], which is positive for places after the token."""
        count = self.weight.shape[0]
        if self.sees_ahead:
            count //= 2
            far, start = ahead.abs(), (ahead > 0) * count
        else:
            far, start = (-ahead).clamp(min=0), torch.zeros_like(ahead)
        exact = count // 2
        share = torch.log(far.clamp(min=exact) / exact) / math.log(self.distance / exact)
        grouped = exact + (share * (count - exact)).long()
        return start + torch.where(far < exact, far, grouped.clamp(max=count - 1))

    def biased(self, hidden: Tensor, position: Tensor, places: Tensor) -> Tensor:
        """Add the numbers of the distances."""
        bias = nn.functional.embedding(self.bucket(places - position.unsqueeze(-1)), self.weight)
        # [.., T, C, H] -> [.., H, T, C]
        return hidden + bias.movedim(-1, -3)


class RotaryConfig(Config):
    """Rotate queries and keys by angles that grow with the position."""

    kind: Literal["rotary"] = "rotary"
    """Rotation of queries and keys by angles that grow with the position (Su et al. 2021)."""
    base: float = Field(default=10000.0, gt=1, le=1e12)
    """Base of the angles, which are position · base^(−2i/d)."""

    def build(self, part: PartShape) -> Positions:
        """Build the module; UsageError for heads of odd width."""
        if part.head_width % 2:
            raise UsageError(
                f"{part.name}.positions: rotary needs heads of even width, which is {part.head_width};"
                f" change {part.name}.heads or {part.name}.head_width"
            )
        return Rotary(self, part)


class Rotary(Positions):
    """Rotate queries and keys: value i of the first half of a head forms a pair with value i of the second."""

    acts_on_attention = True

    def __init__(self, config: RotaryConfig, part: PartShape) -> None:
        super().__init__()
        self.base, self.head_width = config.base, part.head_width

    def turn(self, position: Tensor) -> Turn:
        """Return cosines and sines."""
        half = torch.arange(self.head_width // 2, device=position.device, dtype=torch.float32)
        angles = position.unsqueeze(-1).float() * torch.exp(half * (-2.0 * math.log(self.base) / self.head_width))
        # [.., T, d/2] -> [.., 1, T, d/2], the same for all heads
        return angles.cos().unsqueeze(-3), angles.sin().unsqueeze(-3)


def rotate(values: Tensor, turn: Turn) -> Tensor:
    """Rotate values [B, H, T, d]; the result has their type."""
    cosine, sine = turn
    first, second = values.chunk(2, dim=-1)
    turned = torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1)
    return turned.type_as(values)


class AlibiConfig(Config):
    """Lower each score in proportion to the distance, with another slope for each head; equally in both directions."""

    kind: Literal["alibi"] = "alibi"
    """Scores lowered in proportion to the distance, with another slope for each head (Press et al. 2022)."""

    def build(self, part: PartShape) -> Positions:
        """Build the module."""
        return Alibi(part)


class Alibi(Positions):
    """Lower each score by slope · distance."""

    acts_on_attention = biases_attention = True
    slopes: Tensor

    def __init__(self, part: PartShape) -> None:
        super().__init__()
        self.register_buffer("slopes", torch.tensor(slopes(part.heads))[:, None, None], persistent=False)

    def biased(self, hidden: Tensor, position: Tensor, places: Tensor) -> Tensor:
        """Subtract slope · distance."""
        distance = (places - position.unsqueeze(-1)).abs().unsqueeze(-3)
        return hidden - self.slopes * distance


def slopes(heads: int) -> list[float]:
    """Return the slope of each head, from 2^(−8/n) to 2^(−8); other n as in the authors' code."""
    power = 2 ** (heads.bit_length() - 1)
    row = [2 ** (-8 * (head + 1) / power) for head in range(power)]
    finer = [2 ** (-8 * (head + 1) / (2 * power)) for head in range(0, 2 * (heads - power), 2)]
    return row + finer


PositionsConfig = Annotated[
    SinusoidalConfig | LearnedConfig | RelativeConfig | RotaryConfig | AlibiConfig | NoPositionsConfig,
    Field(discriminator="kind"),
]
