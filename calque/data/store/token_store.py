"""The token store: every pair is encoded once, into flat files that are mapped into memory and never loaded.

So memory does not grow with the data, and a resumed run needs three integers to find its position.
"""

import os
import shutil
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from calque.data.store.writer import PairEncoder, StoreRecord, stored_dtype, sync, write_files
from calque.errors import DataError, ResourceError
from calque.system.files import is_full, is_running, sync_folder
from calque.text.too_long import TooLong

RECORD = "store.json"
Number = TypeVar("Number", bound=np.generic)
CHECK_BYTES = 1 << 20


@dataclass(frozen=True, eq=False)
class TokenSide:
    """One side: `tokens` [all tokens], and `offsets` [N + 1] int64 of where each sentence begins."""

    tokens: NDArray[np.unsignedinteger]
    offsets: NDArray[np.int64]

    def gather(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the tokens of the sentences at `indices` laid end to end, and the number of tokens of each."""
        starts = self.offsets[indices]
        lengths = self.offsets[indices + 1] - starts
        ends = np.cumsum(lengths)
        places = np.arange(lengths.sum()) + np.repeat(starts - (ends - lengths), lengths)
        return self.tokens[places].astype(np.int64), lengths


@dataclass(frozen=True, eq=False)
class TokenStore:
    """Encoded pairs without specials. Lengths count the </s> that a batch adds.

    `extras` are the values of sources in addition to tokens: numbers laid end to end, a varying number per source.
    """

    record: StoreRecord
    source_side: TokenSide
    target_side: TokenSide
    extras: dict[str, TokenSide]

    @classmethod
    def open(cls, folder: Path) -> "TokenStore":
        """Return the store in `folder`; raise DataError if it is absent, incomplete or damaged."""
        record = _read_record(folder)
        for name, size in _file_sizes(record).items():
            path = folder / name
            try:
                whole = path.stat().st_size == size and _checksum(path) == record.checksums.get(name)
            except OSError:
                whole = False
            if not whole:
                raise DataError("the token store is damaged. Delete its folder; it is built again from the text.", path)
        return _map_store(folder, record)

    def __len__(self) -> int:
        """Return the number of pairs."""
        return self.record.num_pairs

    def source_lengths(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the source lengths, </s> included, of the pairs from `start` to before `stop`."""
        return np.diff(self.source_side.offsets[start : stop + 1]) + 1

    def target_lengths(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the target lengths, </s> included, of the pairs from `start` to before `stop`."""
        return np.diff(self.target_side.offsets[start : stop + 1]) + 1

    def lengths_at(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the source and target lengths, </s> included, of the pairs at `indices`."""
        source, target = self.source_side.offsets, self.target_side.offsets
        return source[indices + 1] - source[indices] + 1, target[indices + 1] - target[indices] + 1

    def source(self, index: int) -> NDArray[np.int64]:
        """Return the source ids of one pair."""
        return self.source_side.gather(np.array([index]))[0]

    def target(self, index: int) -> NDArray[np.int64]:
        """Return the target ids of one pair."""
        return self.target_side.gather(np.array([index]))[0]


def open_or_build(
    root: Path, key: str, build: Callable[[Path], TokenStore], report: Callable[[str], None] | None = None
) -> TokenStore:
    """Return the store `root`/`key`, building it if it is absent, incomplete or damaged.

    `key` is a hash, in hex digits, of everything that the store depends on (data, tokenizers, max_length). `report` is
    called with a sentence if an existing store has to be built again.
    """
    assert key.isalnum(), key
    folder = root / key
    try:
        return TokenStore.open(folder)
    except DataError as error:
        if folder.exists() and report is not None:
            report(f"{error} Building it again.")
    return build(folder)


def build_store(
    folder: Path,
    pairs: Iterable[tuple[str, str]],
    text: PairEncoder,
    max_length: int,
    progress: Callable[[int], None] | None = None,
    too_long: TooLong = "split",
) -> TokenStore:
    """Encode `pairs` into a store in `folder`, which is replaced.

    A pair without tokens on a side, or with more than `max_length` tokens, </s> included, is left out and counted, but
    a source that is too long may be shortened, as `too_long` says. `progress` is called with the number of pairs read.
    Raises ResourceError if the disk is full; then, as after any other error, `folder` is unchanged.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(folder)
    temporary = _temporary(folder)
    try:
        temporary.mkdir()
        record = write_files(temporary, pairs, text, max_length, progress, too_long)
        with (temporary / RECORD).open("xb") as file:
            file.write(record.model_dump_json(indent=1).encode())
            sync(file)
        sync_folder(temporary)
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
        sync_folder(folder.parent)
    except BaseException as error:
        written = sum(path.stat().st_size for path in temporary.glob("*"))
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError) and is_full(error):
            raise _no_room(folder, written) from error
        raise
    return _map_store(folder, record)


def _file_sizes(record: StoreRecord) -> dict[str, int]:
    width, offsets = stored_dtype(record.dtype).itemsize, 8 * (record.num_pairs + 1)
    numbers = {"source": record.num_source_tokens, "target": record.num_target_tokens, **record.extras}
    sizes = {f"{name}.tokens": width * number for name, number in numbers.items()}
    return sizes | {f"{name}.offsets": offsets for name in numbers}


def _read_record(folder: Path) -> StoreRecord:
    path = folder / RECORD
    try:
        return StoreRecord.model_validate_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError("there is no complete token store here.", path) from error


def _mapped(path: Path, dtype: np.dtype[Number]) -> NDArray[Number]:
    if path.stat().st_size == 0:
        return np.zeros(0, dtype)  # an empty file cannot be mapped
    return np.asarray(np.memmap(path, dtype, mode="r"))


def _map_store(folder: Path, record: StoreRecord) -> TokenStore:
    def side(name: str) -> TokenSide:
        tokens = _mapped(folder / f"{name}.tokens", stored_dtype(record.dtype))
        return TokenSide(tokens, _mapped(folder / f"{name}.offsets", np.dtype("<i8")))

    return TokenStore(record, side("source"), side("target"), {name: side(name) for name in record.extras})


def _checksum(path: Path) -> int:
    value = 0
    with path.open("rb") as file:
        while data := file.read(CHECK_BYTES):
            value = zlib.crc32(data, value)
    return value


def _temporary(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.tmp-{os.getpid()}")


def _remove_stale(folder: Path) -> None:
    """Remove the temporary folders of builds of this store that were killed."""
    prefix, own = f"{folder.name}.tmp-", _temporary(folder)
    for path in folder.parent.iterdir():
        pid = path.name.removeprefix(prefix)
        if path == own or (path.name.startswith(prefix) and pid.isdecimal() and not is_running(int(pid))):
            shutil.rmtree(path, ignore_errors=True)


def _no_room(folder: Path, written: int) -> ResourceError:
    free = shutil.disk_usage(folder.parent).free
    return ResourceError(
        f"{folder}: no space for the token store.\n"
        f"Needed: more than {written:,} bytes, which were written before it failed; free there: {free:,} bytes.\n"
        "Free some space, or choose another disk with --out."
    )
