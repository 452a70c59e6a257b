"""Records of rows: frozen dataclasses of tensors whose dimension 0 is the row (a sentence, later a hypothesis).

`select` is all that beam search, dropping finished sentences and n-best need; `join` lets rows come in later.
A record that moves less than everything (a half-filled cache), or that is padded otherwise, has its own `select_rows`
and `join_rows`.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

R = TypeVar("R")


def select(record: R, index: Tensor) -> R:
    """Return the same rows of every tensor of `record`, in the order of `index` [N] (repeats allowed)."""
    own = getattr(record, "select_rows", None)
    if own is not None:
        return own(index)  # type: ignore[no-any-return]
    return _map(record, lambda tensor: tensor.index_select(0, index), lambda part: select(part, index))


def to(record: R, device: torch.device | str) -> R:
    """Return `record` with every tensor on `device`."""
    return _map(record, lambda tensor: tensor.to(device), lambda part: to(part, device))


def join(records: Sequence[R]) -> R:
    """Return the rows of all records in one; dimensions after the first are padded with zeros to the longest."""
    first = records[0]
    own = getattr(first, "join_rows", None)
    if own is not None:
        return own(records[1:])  # type: ignore[no-any-return]
    if isinstance(first, Tensor):
        return _join_tensors(records)  # type: ignore[arg-type, return-value]
    if isinstance(first, tuple):
        return tuple(join(parts) for parts in zip(*records, strict=True))  # type: ignore[return-value]
    if dataclasses.is_dataclass(first):
        names = [field.name for field in dataclasses.fields(first)]
        parts = {name: join([getattr(record, name) for record in records]) for name in names}
        return dataclasses.replace(first, **parts)  # type: ignore[type-var]
    # What is no tensor is an extent (a filled length) or nothing: the largest covers all rows.
    return first if first is None else max(records)  # type: ignore[type-var]


def _map(record: R, leaf: Callable[[Tensor], Tensor], nested: Callable[[Any], Any]) -> R:
    if isinstance(record, Tensor):
        return leaf(record)  # type: ignore[return-value]
    if isinstance(record, tuple):
        return tuple(nested(part) for part in record)  # type: ignore[return-value]
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
