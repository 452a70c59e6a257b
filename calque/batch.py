"""What crosses from data to model: padded token ids with their masks."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Source:
    """B source sentences: `tokens` [B, S] int64, `mask` [B, S] bool, true where a token is.

    For copying: `copy_ids` [B, S], the target id of each source token, V + i for the i-th form of that sentence that
    the target vocabulary lacks, PAD where there is nothing to copy; `forms` [B, X] bool, true where a sentence has
    such a form. For graphs: `edges` [B, E, 3], positions from and to and the kind of edge, 0 where there is none. For
    several sources: `segment` [B, S], which of them a token belongs to.
    """

    tokens: Tensor
    mask: Tensor
    copy_ids: Tensor | None = None
    forms: Tensor | None = None
    edges: Tensor | None = None
    segment: Tensor | None = None


@dataclass(frozen=True)
class Target:
    """B target sentences: `inputs` [B, T] from <s> on, `labels` [B, T] up to </s>, `mask` [B, T]."""

    inputs: Tensor
    labels: Tensor
    mask: Tensor


@dataclass(frozen=True)
class Batch:
    """B pairs."""

    source: Source
    target: Target
