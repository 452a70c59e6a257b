"""The normalisation table of a SentencePiece model, checked before the C++ library uses it without any checks.

It is a double array (Aoe 1989, in the format of darts-clone) of keys in UTF-8; its leaves point to texts that end with
a zero byte.
"""

import struct

import numpy as np
from numpy.typing import NDArray

from calque.text.sentencepiece.file import MalformedError

_UNIT_BYTES = 4
_IS_VALUE, _HAS_LEAF, _IS_FAR = np.uint32(1 << 31), np.uint32(1 << 8), np.uint32(1 << 9)
_LABEL = np.uint32(1 << 31 | 0xFF)
_LAST_BYTE = 0xFF
# The library has room for 32 keys with a common start and does not count them; real keys have a few characters.
_MAX_MATCHES, _MAX_KEY_BYTES = 32, 64
_MAX_TABLE_BYTES, _MAX_NODES = 2 * 2**20, 500_000
# The longest text in real tables is an Arabic formula of 33 bytes; long texts could fill the memory.
_MAX_TEXT_BYTES = 256


def check_charsmap(table: bytes) -> None:
    """Raise MalformedError unless every key leads to a short text within the table."""
    if not _UNIT_BYTES <= len(table) <= _MAX_TABLE_BYTES:
        raise MalformedError("its normalisation table is truncated or too large")
    (size,) = struct.unpack_from("<I", table)
    texts = table[_UNIT_BYTES + size :]
    if not size or size % _UNIT_BYTES or _UNIT_BYTES + size > len(table) or not texts.endswith(b"\0"):
        raise MalformedError("its normalisation table is truncated")
    _check_texts(texts)
    values = _walk(np.frombuffer(table, "<u4", size // _UNIT_BYTES, _UNIT_BYTES))
    starts = np.flatnonzero(np.frombuffer(b"\0" + texts[:-1], np.uint8) == 0)
    if not np.isin(values, starts).all():
        raise MalformedError("its normalisation table points outside of its texts")


def _check_texts(texts: bytes) -> None:
    parts = texts.split(b"\0")
    if max(map(len, parts)) > _MAX_TEXT_BYTES:
        raise MalformedError(f"its normalisation table replaces a character by more than {_MAX_TEXT_BYTES} bytes")
    try:
        texts.decode()
    except UnicodeDecodeError:
        raise MalformedError("its normalisation table is not in UTF-8") from None


def _walk(units: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Return the value of every key; all keys are followed at once, one byte per round."""
    edges = _Edges(units)
    base = _children(units[:1], np.zeros(1, np.int64))
    matches = np.zeros(1, np.int64)
    values, visited = [np.zeros(0, np.int64)], 0
    for _ in range(_MAX_KEY_BYTES):
        visited += len(base)
        if visited > _MAX_NODES:
            raise MalformedError("its normalisation table has a cycle")
        if (base | _LAST_BYTE).max() >= len(units):
            raise MalformedError("its normalisation table points outside of itself")
        rows, places = edges.of(base)
        if not len(places):
            return np.concatenate(values)
        nodes = units[places]
        has_leaf = (nodes & _HAS_LEAF) != 0
        # Keys share their ends, so a node is visited once per round, with the most matches of all paths to it.
        after = _children(nodes, places)
        values.append(_values(units, after[has_leaf]))
        base, order = np.unique(after, return_inverse=True)
        most = np.zeros(len(base), np.int64)
        np.maximum.at(most, order, matches[rows] + has_leaf)
        matches = most
        if matches.max() >= _MAX_MATCHES:
            raise MalformedError(f"its normalisation table has {_MAX_MATCHES} keys with a common start")
    raise MalformedError(f"its normalisation table has a key of {_MAX_KEY_BYTES} bytes")


class _Edges:
    """The children of nodes: a unit with label c is at the base of its parent's children, xor c."""

    def __init__(self, units: NDArray[np.uint32]) -> None:
        places = np.flatnonzero((units & _LABEL) <= _LAST_BYTE)
        parents = places ^ (units[places] & _LABEL).astype(np.int64)
        order = np.argsort(parents, kind="stable")
        self.parents, self.places = parents[order], places[order]

    def of(self, base: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return for each child of each of `base` the row of its parent and its own place."""
        first, last = (np.searchsorted(self.parents, base, side) for side in ("left", "right"))
        counts = last - first
        rows = np.repeat(np.arange(len(base)), counts)
        within = np.arange(int(counts.sum())) - np.repeat(counts.cumsum() - counts, counts)
        return rows, self.places[first[rows] + within]


def _values(units: NDArray[np.uint32], places: NDArray[np.int64]) -> NDArray[np.int64]:
    if len(places) and places.max() >= len(units):
        raise MalformedError("its normalisation table points outside of itself")
    return (units[places] & ~_IS_VALUE).astype(np.int64)


def _children(nodes: NDArray[np.uint32], places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the base of the children of nodes: a unit contains an offset, in steps of 1 or 256."""
    far = np.where((nodes & _IS_FAR) != 0, np.uint32(8), np.uint32(0))
    return places ^ ((nodes >> np.uint32(10)) << far).astype(np.int64)
