"""From token ids to padded batches, by index arithmetic rather than loops over tokens.

Here, and only here, </s> ends a source, <s> begins a target's inputs and </s> ends its labels.
"""

from collections.abc import Sequence
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray

from calque.batch import Batch, Source, Target
from calque.data.store import TokenStore
from calque.text.tokenizer import BOS, EOS, PAD


def collate(store: TokenStore, indices: NDArray[np.int64]) -> Batch:
    """Return the pairs at `indices` [B] as a batch, row by row in that order."""
    source, target = store.source_side.gather(indices), store.target_side.gather(indices)
    return Batch(_source(*source), _target(*target))


def collate_sources(sources: Sequence[Sequence[int]]) -> Source:
    """Return sentences of ids without specials (B of them, at least one) as a source."""
    return _source(*_flatten(sources))


def collate_pairs(sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]) -> Batch:
    """Return as many sources as targets, ids without specials, as a batch."""
    assert len(sources) == len(targets), (len(sources), len(targets))
    return Batch(_source(*_flatten(sources)), _target(*_flatten(targets)))


def _flatten(rows: Sequence[Sequence[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    return np.fromiter(chain.from_iterable(rows), np.int64, int(lengths.sum())), lengths


def _closed(flat: NDArray[np.int64], lengths: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return rows [B, longest + 1], each with </s> after its tokens, and the mask of what is not padding."""
    places = np.arange(int(lengths.max()) + 1)
    rows = np.full((len(lengths), len(places)), PAD, np.int64)
    # A mask takes cells in row-major order, which is the order of the tokens laid end to end.
    rows[places < lengths[:, None]] = flat
    rows[np.arange(len(lengths)), lengths] = EOS
    return rows, places <= lengths[:, None]


def _source(flat: NDArray[np.int64], lengths: NDArray[np.int64]) -> Source:
    tokens, mask = _closed(flat, lengths)
    return Source(torch.from_numpy(tokens), torch.from_numpy(mask))


def _target(flat: NDArray[np.int64], lengths: NDArray[np.int64]) -> Target:
    labels, mask = _closed(flat, lengths)
    inputs = np.full_like(labels, PAD)
    inputs[:, 0] = BOS
    # The labels one place later; where the mask ends, so that no </s> is ever an input.
    inputs[:, 1:] = np.where(mask[:, 1:], labels[:, :-1], PAD)
    return Target(torch.from_numpy(inputs), torch.from_numpy(labels), torch.from_numpy(mask))
