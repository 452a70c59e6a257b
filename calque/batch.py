"""What crosses from data to model: padded token ids with their masks."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Source:
    """Hold B source sentences: `tokens` [B, S] int64, `mask` [B, S] bool, true where a token is."""

    tokens: Tensor
    mask: Tensor


@dataclass(frozen=True)
class Target:
    """Hold B target sentences: `inputs` [B, T] from <s> on, `labels` [B, T] up to </s>, `mask` [B, T]."""

    inputs: Tensor
    labels: Tensor
    mask: Tensor


@dataclass(frozen=True)
class Batch:
    """Hold B pairs."""

    source: Source
    target: Target
