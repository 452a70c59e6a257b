"""Write the files of a token store, block by block, so that memory does not grow with the data.

`calque.data.store.token_store` calls this for a temporary folder and reads the result.
"""

import contextlib
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from calque.config import Config
from calque.errors import DataError
from calque.text.source import SourceIds
from calque.text.too_long import TooLong, fitted_pair

BLOCK_PAIRS = 2_048
# Long lines make a block end early, so that the lists of ids of one block stay small.
BLOCK_CHARACTERS = 1 << 18
NUM_NAMED = 10


class HasVocabSize(Protocol):
    """A tokenizer, of which only the number of ids is needed here."""

    @property
    def vocab_size(self) -> int:
        """Return the number of ids."""


class PairEncoder(Protocol):
    """The text side of a model: both tokenizers behind one batch call; ids without special tokens."""

    @property
    def source(self) -> HasVocabSize:
        """Return the source tokenizer."""

    @property
    def target(self) -> HasVocabSize:
        """Return the target tokenizer."""

    @property
    def extras(self) -> tuple[str, ...]:
        """Return the names of the values of sources in addition to tokens."""

    def read_pairs(self, sources: Sequence[str], targets: Sequence[str]) -> list[tuple[SourceIds, list[int]]]:
        """Return each source and the ids of its target."""


class StoreRecord(Config):
    """The description of a store's files; it is written last, so a folder with it is complete."""

    format: Literal[2] = 2
    dtype: Literal["uint16", "uint32"]
    """How a token id is stored, little-endian."""
    vocab_size: int
    """Size of the target vocabulary; larger target ids are copied forms."""
    extras: dict[str, int]
    """The values of sources in addition to tokens (`calque.text.extras.EXTRAS`), and the number of numbers of each."""
    num_pairs: int
    """Pairs kept."""
    num_source_tokens: int
    num_target_tokens: int
    """Tokens kept, without special ones."""
    num_read: int
    """Pairs read."""
    num_too_long: int
    """Pairs left out because a side, with its </s>, has more than max_length tokens."""
    num_shortened: int = 0
    """Pairs kept with a part of their source, which has more than max_length tokens."""
    first_too_long: tuple[int, ...]
    """The positions of the first of these in the input, from 1."""
    num_empty: int
    """Pairs left out because a side has no tokens."""
    checksums: dict[str, int]
    """CRC-32 of each file."""


class _SideWriter:
    """Append sentences to the two files of one side."""

    def __init__(self, folder: Path, side: str, dtype: np.dtype[np.unsignedinteger], files: contextlib.ExitStack):
        self.names = [f"{side}.tokens", f"{side}.offsets"]
        self.files = [files.enter_context((folder / name).open("xb")) for name in self.names]
        self.checksums = [0, 0]
        self.dtype = dtype
        self.num_tokens = 0
        self._append(1, np.zeros(1, "<i8"))

    def write(self, rows: list[list[int]]) -> None:
        lengths = np.fromiter(map(len, rows), "<i8", len(rows))
        total = int(lengths.sum())
        self._append(0, np.fromiter(chain.from_iterable(rows), self.dtype, total))
        self._append(1, self.num_tokens + np.cumsum(lengths))
        self.num_tokens += total

    def finish(self) -> dict[str, int]:
        for file in self.files:
            sync(file)
        return dict(zip(self.names, self.checksums, strict=True))

    def _append(self, which: int, values: NDArray[np.generic]) -> None:
        data = values.tobytes()
        self.files[which].write(data)
        self.checksums[which] = zlib.crc32(data, self.checksums[which])


def write_files(
    folder: Path,
    pairs: Iterable[tuple[str, str]],
    text: PairEncoder,
    max_length: int,
    progress: Callable[[int], None] | None,
    too_long: TooLong = "split",
) -> StoreRecord:
    """Write and fsync the files of a store, two per side, into `folder`; return a description (see `build_store`)."""
    # A copied form has an id beyond the vocabulary; a position or a kind of edge is at most the length of a sentence.
    largest = max(text.source.vocab_size, text.target.vocab_size) + (max_length if text.extras else 0)
    dtype: Literal["uint16", "uint32"] = "uint16" if largest <= np.iinfo(np.uint16).max else "uint32"
    num_read = num_kept = num_too_long = num_shortened = num_empty = 0
    first_too_long: list[int] = []
    with contextlib.ExitStack() as files:
        sides = [_SideWriter(folder, side, stored_dtype(dtype), files) for side in ("source", "target")]
        extras = {name: _SideWriter(folder, name, stored_dtype(dtype), files) for name in text.extras}
        for block in _blocks(pairs):
            kept = []
            read = text.read_pairs([source for source, _ in block], [target for _, target in block])
            for number, (source, target) in enumerate(read, num_read + 1):
                if not len(source) or not target:
                    num_empty += 1
                    continue
                pair = _fitted(source, target, max_length, too_long, text.target.vocab_size, number)
                if pair is None:
                    num_too_long += 1
                    first_too_long += [number] if num_too_long <= NUM_NAMED else []
                else:
                    num_shortened += pair[0] is not source
                    kept.append(pair)
            sides[0].write([source.tokens for source, _ in kept])
            sides[1].write([target for _, target in kept])
            for name, writer in extras.items():
                writer.write([source.numbers(name) for source, _ in kept])
            num_read, num_kept = num_read + len(block), num_kept + len(kept)
            if progress is not None:
                progress(num_read)
        checksums = {name: value for side in (*sides, *extras.values()) for name, value in side.finish().items()}
    return StoreRecord(
        dtype=dtype,
        vocab_size=text.target.vocab_size,
        extras={name: writer.num_tokens for name, writer in extras.items()},
        num_pairs=num_kept,
        num_source_tokens=sides[0].num_tokens,
        num_target_tokens=sides[1].num_tokens,
        num_read=num_read,
        num_too_long=num_too_long,
        num_shortened=num_shortened,
        first_too_long=tuple(first_too_long),
        num_empty=num_empty,
        checksums=checksums,
    )


def _fitted(
    source: SourceIds, target: list[int], max_length: int, too_long: TooLong, vocab_size: int, number: int
) -> tuple[SourceIds, list[int]] | None:
    """Return the pair as it is stored, or None; DataError with the number of a pair that is refused."""
    if len(target) + 1 > max_length and too_long == "refuse":
        raise DataError(f"the target of training pair {number:,} has more than {max_length} tokens; set data.too_long")
    if len(target) + 1 > max_length:
        return None
    try:
        return fitted_pair(source, target, max_length - 1, too_long, vocab_size)
    except DataError as error:
        raise DataError(f"the source of training pair {number:,}: {error.message}, or set data.too_long") from None


def _blocks(pairs: Iterable[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    block: list[tuple[str, str]] = []
    size = 0
    for source, target in pairs:
        block.append((source, target))
        size += len(source) + len(target)
        if len(block) == BLOCK_PAIRS or size >= BLOCK_CHARACTERS:
            yield block
            block, size = [], 0
    if block:
        yield block


def stored_dtype(dtype: str) -> np.dtype[np.unsignedinteger]:
    """Return the little-endian numpy type of that name."""
    return np.dtype(dtype).newbyteorder("<")


def sync(file: BinaryIO) -> None:
    """Flush a file to the disk."""
    file.flush()
    os.fsync(file.fileno())
