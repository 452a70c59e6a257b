"""The extras of a source, its values in addition to tokens: how each is framed, cut, joined, stored and padded.

A new extra is a field of `SourceIds`, a member of `EXTRAS`, and the field of a batch that the model reads it from.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from calque.ids import EOS, PAD

Edge: TypeAlias = tuple[int, int, int]
Ids: TypeAlias = NDArray[np.int64]
Item = TypeVar("Item")


@dataclass(frozen=True)
class PaddedTokens:
    """The tokens of B sources: `tokens` [B, S] with </s>, `lengths` [B] without; V target ids in `vocab_size`."""

    tokens: Ids
    lengths: Ids
    vocab_size: int


@dataclass(frozen=True)
class Extra(Generic[Item]):
    """Base of the extras; `name` is that of its field in `SourceIds` and of its files in a token store.

    `is_cuttable`: whether tokens of a source with this extra can be left out.
    """

    name: str
    is_cuttable: bool = True

    def framed(self, items: list[Item], before: int, after: int) -> list[Item]:
        """Return the items of a source to which `before` and `after` tokens are added."""
        raise NotImplementedError

    def cut(self, items: list[Item], kept: slice, lead: int, tail: int) -> list[Item]:
        """Return the items of a part: the first `lead`, the slice `kept` of those between, and the last `tail`."""
        raise NotImplementedError

    def joined(self, parts: Sequence[list[Item]], bounds: Sequence[int]) -> list[Item]:
        """Return the items of several sources as one, where source n has the tokens from bounds[n] to bounds[n + 1]."""
        raise NotImplementedError

    def flat(self, items: list[Item]) -> list[int]:
        """Return the items as the numbers that a store contains."""
        raise NotImplementedError

    def fields(self, numbers: Ids, counts: Ids, padded: PaddedTokens) -> dict[str, NDArray[np.generic]]:
        """Return fields of `batch.Source` from the numbers of B sources laid end to end, `counts` [B] of each."""
        raise NotImplementedError


@dataclass(frozen=True)
class PerToken(Extra[int]):
    """One number for each token; `fill` is that of added tokens, `field` is the name in a batch."""

    field: str = ""
    fill: int = PAD

    def framed(self, items: list[int], before: int, after: int) -> list[int]:
        """Return the numbers with fillers around them."""
        return [self.fill] * before + items + [self.fill] * after

    def cut(self, items: list[int], kept: slice, lead: int, tail: int) -> list[int]:
        """Return the numbers of a part."""
        return cut(items, kept, lead, tail)

    def joined(self, parts: Sequence[list[int]], bounds: Sequence[int]) -> list[int]:
        """Return the numbers of all sources, with fillers for the tokens between them."""
        joined: list[int] = []
        for items, end in zip(parts, bounds[1:], strict=True):
            joined += items
            joined += [self.fill] * (end - len(joined))
        return joined

    def flat(self, items: list[int]) -> list[int]:
        """Return the numbers."""
        return items

    def fields(self, numbers: Ids, counts: Ids, padded: PaddedTokens) -> dict[str, NDArray[np.generic]]:
        """Return the numbers as [B, S]."""
        return {self.field: pad_rows(numbers, counts, padded.tokens.shape[1])}


class CopyIds(PerToken):
    """The target id that copying a token gives; added tokens cannot be copied."""

    def fields(self, numbers: Ids, counts: Ids, padded: PaddedTokens) -> dict[str, NDArray[np.generic]]:
        """Return the ids [B, S], and `forms` [B, X], true for each form of a source that has no target id."""
        copy_ids = pad_rows(numbers, counts, padded.tokens.shape[1])
        num_forms = np.maximum(copy_ids.max(axis=1) + 1 - padded.vocab_size, 0)
        return {self.field: copy_ids, "forms": np.arange(int(num_forms.max())) < num_forms[:, None]}


class Segments(PerToken):
    """The number of the source that a token belongs to."""

    def framed(self, items: list[int], before: int, after: int) -> list[int]:
        """Return the numbers; tokens before belong to the first source, tokens after to the last."""
        return [0] * before + items + [items[-1] if items else 0] * after

    def fields(self, numbers: Ids, counts: Ids, padded: PaddedTokens) -> dict[str, NDArray[np.generic]]:
        """Return the numbers as [B, S]; the </s> at the end belongs to the last source.

        That is the source of the token before it, or the next one if that token closes a source.
        """
        segments = pad_rows(numbers, counts, padded.tokens.shape[1])
        lengths = padded.lengths
        rows, last = np.arange(len(lengths)), np.maximum(lengths - 1, 0)
        closed = (padded.tokens[rows, last] == EOS) & (lengths > 0)
        segments[rows, lengths] = segments[rows, last] + closed
        return {self.field: segments}


class Edges(Extra[Edge]):
    """Edges: position of the start, position of the end, and kind."""

    def framed(self, items: list[Edge], before: int, after: int) -> list[Edge]:
        """Return the edges between the same tokens; added tokens have no edges."""
        return [(start + before, end + before, kind) for start, end, kind in items]

    def joined(self, parts: Sequence[list[Edge]], bounds: Sequence[int]) -> list[Edge]:
        """Return the edges of all sources."""
        moved = (self.framed(items, start, 0) for items, start in zip(parts, bounds, strict=False))
        return list(chain.from_iterable(moved))

    def flat(self, items: list[Edge]) -> list[int]:
        """Return three numbers for each edge."""
        return list(chain.from_iterable(items))

    def fields(self, numbers: Ids, counts: Ids, padded: PaddedTokens) -> dict[str, NDArray[np.generic]]:
        """Return the edges as [B, E, 3]."""
        return {"edges": pad_rows(numbers, counts, int(counts.max())).reshape(len(counts), -1, 3)}


# Any: each extra has its own type of items, and `dataclasses.replace` accepts no dictionary of different types.
AnyExtra: TypeAlias = Extra[Any]
Items: TypeAlias = list[Any]
ExtraFields: TypeAlias = dict[str, Any]

EXTRAS: tuple[AnyExtra, ...] = (
    CopyIds("copy_ids", field="copy_ids"),
    Edges("edges", is_cuttable=False),
    Segments("segments", field="segment"),
)


def extras_of(source: object) -> list[tuple[AnyExtra, Items]]:
    """Return the extras that a source has, each with its items."""
    return [(extra, items) for extra in EXTRAS if (items := getattr(source, extra.name, None)) is not None]


def extra_named(name: str) -> AnyExtra:
    """Return the extra of that name."""
    return next(extra for extra in EXTRAS if extra.name == name)


def cut(items: list[int], kept: slice, lead: int, tail: int) -> list[int]:
    """Return the first `lead` items, `kept` of those between, and the last `tail`."""
    end = len(items) - tail
    return items[:lead] + items[lead:end][kept] + items[end:]


def pad_rows(flat: Ids, lengths: Ids, width: int) -> Ids:
    """Return rows [B, width], 0 after the values of each."""
    rows = np.zeros((len(lengths), width), np.int64)
    # A mask takes cells in row-major order, which is the order of the values laid end to end.
    rows[np.arange(width) < lengths[:, None]] = flat
    return rows
