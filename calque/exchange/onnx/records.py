"""Conversion of records of tensors to lists of named tensors and back, for runtimes without calque's records.

A name is the path of fields and places: `state.caches.0.keys`.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from calque.nn.attention.multihead import Cache


@dataclass(frozen=True)
class GrowingCache:
    """Keys and values [R, G, t, d] of the t places so far: a `Cache` without spare room, which grows at each step.

    All rows are at the same position.
    """

    keys: Tensor
    values: Tensor

    @property
    def length(self) -> int:
        """Return t."""
        return self.keys.shape[2]

    def write(self, key: Tensor, value: Tensor, position: Tensor) -> "GrowingCache":
        """Return the cache with one more key and value [R, G, 1, d] per row."""
        return GrowingCache(torch.cat([self.keys, key], dim=2), torch.cat([self.values, value], dim=2))

    def filled(self) -> tuple[Tensor, Tensor]:
        """Return keys and values."""
        return self.keys, self.values


def growing(record: Any) -> Any:
    """Return a record in which each cache is replaced by a growing cache of its filled places."""
    if isinstance(record, Cache):
        return GrowingCache(*record.filled())
    if isinstance(record, tuple):
        return tuple(growing(part) for part in record)
    if dataclasses.is_dataclass(record) and not isinstance(record, type):
        parts = {field.name: growing(getattr(record, field.name)) for field in dataclasses.fields(record)}
        return dataclasses.replace(record, **parts)
    return record


def named(record: Any, name: str) -> dict[str, Tensor]:
    """Return the tensors of a record, depth first, by their paths below `name`."""
    if isinstance(record, Tensor):
        return {name: record}
    return {path: tensor for part, inner in _parts(record) for path, tensor in named(inner, f"{name}.{part}").items()}


def refilled(record: Any, tensors: Iterator[Tensor]) -> Any:
    """Return the record with its tensors replaced, in the order of `named`."""
    if isinstance(record, Tensor):
        return next(tensors)
    if isinstance(record, tuple):
        return tuple(refilled(part, tensors) for part in record)
    if dataclasses.is_dataclass(record) and not isinstance(record, type):
        return dataclasses.replace(record, **{name: refilled(part, tensors) for name, part in _parts(record)})
    return record


def _parts(record: Any) -> list[tuple[str, Any]]:
    if isinstance(record, tuple):
        return [(str(number), part) for number, part in enumerate(record)]
    if dataclasses.is_dataclass(record):
        return [(field.name, getattr(record, field.name)) for field in dataclasses.fields(record)]
    assert record is None, f"no way to name a {type(record).__name__}"
    return []
