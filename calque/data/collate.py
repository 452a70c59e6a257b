"""From token ids to padded batches, by index arithmetic rather than loops over tokens.

Here, and only here, </s> ends a source, <s> begins a target's inputs and </s> ends its labels.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from calque.batch import Batch, Source, Target
from calque.data.store.token_store import TokenStore
from calque.ids import BOS, EOS, PAD
from calque.text.source import SourceIds

Ragged: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64]]


def collate(store: TokenStore, indices: NDArray[np.int64]) -> Batch:
    """Return the pairs at `indices` [B] as a batch, row by row in that order."""
    extras = {name: side.gather(indices) for name, side in store.extras.items()}
    source = _source(*store.source_side.gather(indices), extras, store.record.vocab_size)
    return Batch(source, _target(*store.target_side.gather(indices)))


def collate_sources(sources: Sequence[SourceIds], vocab_size: int = 0) -> Source:
    """Return sources (B of them, at least one) as a record; `vocab_size` V of the target is needed for copying."""
    extras = {name: _flatten(rows) for name, rows in _extras(sources).items()}
    return _source(*_flatten([source.tokens for source in sources]), extras, vocab_size)


def collate_pairs(sources: Sequence[SourceIds], targets: Sequence[Sequence[int]], vocab_size: int = 0) -> Batch:
    """Return as many sources as targets, ids without specials, as a batch."""
    assert len(sources) == len(targets), (len(sources), len(targets))
    return Batch(collate_sources(sources, vocab_size), _target(*_flatten(targets)))


def _extras(sources: Sequence[SourceIds]) -> dict[str, list[Sequence[int]]]:
    """Return what the sources have beside tokens: all of them or none."""
    found: dict[str, list[Sequence[int]]] = {}
    if sources[0].copy_ids is not None:
        found["copy_ids"] = [source.copy_ids or [] for source in sources]
    if sources[0].segments is not None:
        found["segments"] = [source.segments or [] for source in sources]
    if sources[0].edges is not None:
        found["edges"] = [list(chain.from_iterable(source.edges or [])) for source in sources]
    return found


def _flatten(rows: Sequence[Sequence[int]]) -> Ragged:
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    return np.fromiter(chain.from_iterable(rows), np.int64, int(lengths.sum())), lengths


def _padded(flat: NDArray[np.int64], lengths: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    """Return rows [B, width], 0 after the values of each."""
    rows = np.zeros((len(lengths), width), np.int64)
    # A mask takes cells in row-major order, which is the order of the values laid end to end.
    rows[np.arange(width) < lengths[:, None]] = flat
    return rows


def _closed(flat: NDArray[np.int64], lengths: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return rows [B, longest + 1], each with </s> after its tokens, and the mask of what is not padding."""
    width = int(lengths.max()) + 1
    rows = _padded(flat, lengths, width)
    rows[np.arange(len(lengths)), lengths] = EOS
    return rows, np.arange(width) <= lengths[:, None]


def _source(flat: NDArray[np.int64], lengths: NDArray[np.int64], extras: dict[str, Ragged], vocab_size: int) -> Source:
    tokens, mask = _closed(flat, lengths)
    source = Source(torch.from_numpy(tokens), torch.from_numpy(mask))
    if "copy_ids" in extras:
        # Of </s> there is nothing to copy.
        copy_ids = _padded(*extras["copy_ids"], tokens.shape[1])
        num_forms = np.maximum(copy_ids.max(axis=1) + 1 - vocab_size, 0)
        forms = np.arange(int(num_forms.max())) < num_forms[:, None]
        source = replace(source, copy_ids=torch.from_numpy(copy_ids), forms=torch.from_numpy(forms))
    if "segments" in extras:
        segments = _padded(*extras["segments"], tokens.shape[1])
        # The </s> belongs to the last of the sources: that of the token before, or the next where that one is closed.
        rows, last = np.arange(len(lengths)), np.maximum(lengths - 1, 0)
        segments[rows, lengths] = segments[rows, last] + ((tokens[rows, last] == EOS) & (lengths > 0))
        source = replace(source, segment=torch.from_numpy(segments))
    if "edges" in extras:
        numbers, counts = extras["edges"]
        edges = _padded(numbers, counts, int(counts.max())).reshape(len(counts), -1, 3)
        source = replace(source, edges=torch.from_numpy(edges))
    return source


def _target(flat: NDArray[np.int64], lengths: NDArray[np.int64]) -> Target:
    labels, mask = _closed(flat, lengths)
    inputs = np.full_like(labels, PAD)
    inputs[:, 0] = BOS
    # The labels one place later; where the mask ends, so that no </s> is ever an input.
    inputs[:, 1:] = np.where(mask[:, 1:], labels[:, :-1], PAD)
    return Target(torch.from_numpy(inputs), torch.from_numpy(labels), torch.from_numpy(mask))
