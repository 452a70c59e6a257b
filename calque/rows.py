"""Records of rows: frozen dataclasses of tensors whose dimension 0 is the row (a sentence or a hypothesis).

Beam search, dropping finished sentences and n-best lists all use `select`; `join` adds rows to a running search.
A record that copies only part of itself (a half-filled cache), or that is padded differently, defines `select_rows`
and `join_rows`.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor

R = TypeVar("R")
Record: TypeAlias = Any
"""A record of rows, a tensor, a tuple of records or None, of a type that only the part which made it knows.

Any: a decoder's state, for example, is passed through the search back to the same decoder, which declares its type.
"""


def select(record: R, index: Tensor) -> R:
    """Return the rows `index` [N] of every tensor of `record`, in that order; a row may be repeated."""
    own = getattr(record, "select_rows", None)
    selected: R
    if own is not None:
        selected = own(index)
    else:
        selected = _map(record, lambda tensor: tensor.index_select(0, index), lambda part: select(part, index))
    return selected


def to(record: R, device: torch.device | str) -> R:
    """Return `record` with every tensor on `device`."""
    moved: R = _map(record, lambda tensor: tensor.to(device), lambda part: to(part, device))
    return moved


def filled(record: Record, value: int) -> Tensor:
    """Return a tensor [B] int64 with `value` for each of the B rows of `record`, on its device."""
    first = next(_tensors(record))
    return torch.full([len(first)], value, device=first.device)


def join(records: Sequence[R]) -> R:
    """Return one record with the rows of all; dimensions after the first are padded with zeros to the longest."""
    joined: R = _join(records)
    return joined


def _tensors(record: Record) -> Iterator[Tensor]:
    if isinstance(record, Tensor):
        yield record
    elif isinstance(record, tuple):
        for part in record:
            yield from _tensors(part)
    elif dataclasses.is_dataclass(record) and not isinstance(record, type):
        for field in dataclasses.fields(record):
            yield from _tensors(getattr(record, field.name))


def _join(records: Sequence[Record]) -> Record:
    first = records[0]
    own = getattr(first, "join_rows", None)
    if own is not None:
        return own(records[1:])
    if isinstance(first, Tensor):
        return _join_tensors(records)
    if isinstance(first, tuple):
        return tuple(join(parts) for parts in zip(*records, strict=True))
    if dataclasses.is_dataclass(first) and not isinstance(first, type):
        names = [field.name for field in dataclasses.fields(first)]
        parts = {name: join([getattr(record, name) for record in records]) for name in names}
        return dataclasses.replace(first, **parts)
    # The other fields are None or a number that all rows share (a filled length), of which the largest fits all.
    return first if first is None else max(records)


def _map(record: Record, leaf: Callable[[Tensor], Tensor], nested: Callable[[Record], Record]) -> Record:
    if isinstance(record, Tensor):
        return leaf(record)
    if isinstance(record, tuple):
        return tuple(nested(part) for part in record)
    if dataclasses.is_dataclass(record) and not isinstance(record, type):
        parts = {field.name: nested(getattr(record, field.name)) for field in dataclasses.fields(record)}
        return dataclasses.replace(record, **parts)
    return record


def _join_tensors(tensors: Sequence[Tensor]) -> Tensor:
    shape = [max(sizes) for sizes in zip(*(tensor.shape[1:] for tensor in tensors), strict=True)]
    joined = tensors[0].new_zeros([sum(len(tensor) for tensor in tensors), *shape])
    start = 0
    for tensor in tensors:
        corner = tuple(slice(size) for size in tensor.shape[1:])
        joined[(slice(start, start + len(tensor)), *corner)] = tensor
        start += len(tensor)
    return joined
