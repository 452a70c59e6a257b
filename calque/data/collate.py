"""Turn token ids into padded batches, by index arithmetic instead of loops over tokens.

Only here </s> ends a source, <s> begins a target's inputs and </s> ends its labels.
"""

from collections.abc import Sequence
from itertools import chain
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from calque.batch import Batch, Source, Target
from calque.data.store.token_store import TokenStore
from calque.ids import BOS, EOS, PAD
from calque.text.extras import PaddedTokens, extra_named, pad_rows
from calque.text.source import SourceIds

Ragged: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64]]


def collate(store: TokenStore, indices: NDArray[np.int64]) -> Batch:
    """Return the pairs at `indices` [B] as a batch, row by row in that order."""
    extras = {name: side.gather(indices) for name, side in store.extras.items()}
    source = _source(*store.source_side.gather(indices), extras, store.record.vocab_size)
    return Batch(source, _target(*store.target_side.gather(indices)))


def collate_sources(sources: Sequence[SourceIds], vocab_size: int = 0) -> Source:
    """Return sources (B of them, at least one) as a record; `vocab_size` V of the target is needed for copying."""
    names = [extra.name for extra, _ in sources[0].extras]
    extras = {name: _flatten([source.numbers(name) for source in sources]) for name in names}
    return _source(*_flatten([source.tokens for source in sources]), extras, vocab_size)


def collate_pairs(sources: Sequence[SourceIds], targets: Sequence[Sequence[int]], vocab_size: int = 0) -> Batch:
    """Return as many sources as targets, ids without specials, as a batch."""
    assert len(sources) == len(targets), (len(sources), len(targets))
    return Batch(collate_sources(sources, vocab_size), _target(*_flatten(targets)))


def _flatten(rows: Sequence[Sequence[int]]) -> Ragged:
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    return np.fromiter(chain.from_iterable(rows), np.int64, int(lengths.sum())), lengths


def _closed(flat: NDArray[np.int64], lengths: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return rows [B, longest + 1], each with </s> after its tokens, and the mask of what is not padding."""
    width = int(lengths.max()) + 1
    rows = pad_rows(flat, lengths, width)
    rows[np.arange(len(lengths)), lengths] = EOS
    return rows, np.arange(width) <= lengths[:, None]


def _source(flat: NDArray[np.int64], lengths: NDArray[np.int64], extras: dict[str, Ragged], vocab_size: int) -> Source:
    tokens, mask = _closed(flat, lengths)
    padded = PaddedTokens(tokens, lengths, vocab_size)
    fields: dict[str, NDArray[np.generic]] = {}
    for name, (numbers, counts) in extras.items():
        fields |= extra_named(name).fields(numbers, counts, padded)
    tensors = {name: torch.from_numpy(values) for name, values in fields.items()}
    return Source(torch.from_numpy(tokens), torch.from_numpy(mask), **tensors)


def _target(flat: NDArray[np.int64], lengths: NDArray[np.int64]) -> Target:
    labels, mask = _closed(flat, lengths)
    inputs = np.full_like(labels, PAD)
    inputs[:, 0] = BOS
    # The inputs are the labels one place later, up to the end of the mask, so </s> is never an input.
    inputs[:, 1:] = np.where(mask[:, 1:], labels[:, :-1], PAD)
    return Target(torch.from_numpy(inputs), torch.from_numpy(labels), torch.from_numpy(mask))
