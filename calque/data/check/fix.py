"""Write a clean copy of a data set: without bad lines, pairs with an empty side and repeated pairs."""

import contextlib
import os
from array import array
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calque.data.check.tally import text_hash
from calque.data.files.readers import Dataset, pairs
from calque.errors import DataError, ResourceError, UsageError
from calque.text.identity import NFC, is_blank


@dataclass(frozen=True)
class FixCounts:
    """The number of pairs written, and of those left out by reason."""

    kept: int
    bad: int
    """Bad lines."""
    blank: int
    """Pairs with an empty side."""
    duplicates: int
    """Pairs that repeat an earlier one."""


def fix_dataset(dataset: Dataset, out: Path) -> FixCounts:
    """Write the usable pairs of `dataset`, each once, as TSV to `out`, which is replaced in one step.

    Raises DataError for a data set without a usable pair; then `out` is not written.
    """
    if any(out.exists() and out.samefile(file.path) for file in dataset.files):
        raise UsageError(f'"{out}" is the file to fix: name another file after --fix.')
    is_first = _first_times(dataset)
    bad: list[DataError] = []
    total = kept = blank = 0
    temporary = out.with_name(f"{out.name}.tmp-{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8", newline="") as stream:
            if len(dataset.columns.inputs) > 1:
                # Several columns can only be read by their names.
                stream.write("\t".join(dataset.columns.names) + "\n")
            for source, target in pairs(dataset.examples(bad.append)):
                if _is_blank(dataset, source, target):
                    blank += 1
                    continue
                if is_first[total]:
                    stream.write(f"{source}\t{target}\n")
                    kept += 1
                total += 1
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(out)
    except OSError as error:
        raise ResourceError(f'cannot write "{out}": {error.strerror}.') from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    return FixCounts(kept, len(bad), blank, total - kept)


def _is_blank(dataset: Dataset, source: str, target: str) -> bool:
    return is_blank(dataset.columns.untagged(source)) or is_blank(target)


def _first_times(dataset: Dataset) -> NDArray[np.bool_]:
    """Return for each usable pair whether it is the first of its equals, by hashes of 64 bits."""
    hashes = array("Q")
    for source, target in pairs(dataset.examples(lambda _: None)):
        if not _is_blank(dataset, source, target):
            hashes.append(text_hash(f"{NFC.of(source)}\t{NFC.of(target)}"))
    values = np.frombuffer(hashes, dtype=np.uint64)
    # The order is stable, so of equal hashes the first in the file comes first.
    order = np.argsort(values, kind="stable")
    values = values[order]
    result = np.empty(len(values), dtype=np.bool_)
    result[order] = np.concatenate([[True], values[1:] != values[:-1]])
    return result
