"""Batches: padded token ids and masks, the interface between data and models."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Source:
    """B source sentences: `tokens` [B, S] int64, `mask` [B, S] bool, false at padding.

    For copying: `copy_ids` [B, S], the target id of each source token, V + i for the i-th form of the sentence that is
    not in the target vocabulary, or PAD for nothing to copy; `forms` [B, X] bool, true for each such form. For graphs:
    `edges` [B, E, 3], each with start, end and kind, where kind 0 is padding. For several sources: `segment` [B, S],
    the number of each token's source.
    """

    tokens: Tensor
    mask: Tensor
    copy_ids: Tensor | None = None
    forms: Tensor | None = None
    edges: Tensor | None = None
    segment: Tensor | None = None


@dataclass(frozen=True)
class Target:
    """B target sentences: `inputs` [B, T], from <s> on, `labels` [B, T], up to </s>, and `mask` [B, T]."""

    inputs: Tensor
    labels: Tensor
    mask: Tensor


@dataclass(frozen=True)
class Batch:
    """B pairs."""

    source: Source
    target: Target
