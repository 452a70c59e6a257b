"""Lines of JSON that a run writes as it goes, and cuts back to a checkpoint when it resumes."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from calque.errors import UsageError
from calque.system.files import cannot_write, write_atomic


class Journal:
    """A file of JSON lines to which a run appends; a kill never leaves part of a line that is read."""

    def __init__(self, path: Path, step: int, mark: Mapping[str, Any] | None = None) -> None:
        """Open `path` with its content at a checkpoint, and drop the lines that were written later.

        `mark` is what `mark` returned for that checkpoint; without one (at the start of a run, and in checkpoints of
        calque 0.1.0) the lines up to `step` stay. Raises UsageError where the file was changed since.
        """
        if mark is None:
            kept = "".join(_line(row) for row in read_journal(path, True) if row.get("step", 0) <= step).encode()
        else:
            kept = _marked(path, mark)
        write_atomic(path, kept)
        self._path, self._hash, self._num_bytes = path, hashlib.sha256(kept), len(kept)
        self._file = path.open("ab", buffering=0)

    def write(self, row: dict[str, Any]) -> None:
        """Append one line."""
        line = _line(row).encode()
        try:
            self._file.write(line)
        except OSError as error:
            # A line is whole or absent.
            os.ftruncate(self._file.fileno(), self._num_bytes)
            raise cannot_write(self._path, error, len(line)) from error
        self._hash.update(line)
        self._num_bytes += len(line)

    def mark(self) -> dict[str, Any]:
        """Wait until all lines are on the disk; return their number of bytes and SHA-256, which a checkpoint keeps."""
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise cannot_write(self._path, error, self._num_bytes) from error
        return {"bytes": self._num_bytes, "sha256": self._hash.hexdigest()}

    def __enter__(self) -> "Journal":
        """Return the journal, open for writing."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the file."""
        self._file.close()


class SilentJournal(Journal):
    """A journal that writes nothing, for a rank that does not keep the run's files."""

    def __init__(self) -> None:
        """Open nothing."""

    def write(self, row: dict[str, Any]) -> None:
        """Drop a line."""

    def __exit__(self, *error: object) -> None:
        """Close nothing."""


def read_journal(path: Path, skip_damaged: bool = False) -> Iterator[dict[str, Any]]:
    """Yield the complete lines of a journal; an incomplete last line is skipped.

    Raises UsageError for another line that is damaged, unless `skip_damaged`.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if isinstance(row, dict):
                yield row
            elif not skip_damaged:
                raise UsageError(f"{path}, line {number}: the line is damaged. Restore the file from a copy.")


def _marked(path: Path, mark: Mapping[str, Any]) -> bytes:
    try:
        with path.open("rb") as file:
            kept = file.read(mark["bytes"])
    except FileNotFoundError:
        kept = b""
    if hashlib.sha256(kept).hexdigest() != mark["sha256"]:
        raise UsageError(
            f"{path} is not the file that this run wrote: it was changed, damaged or removed.\n"
            "Restore it from a copy, start again with --fresh, or train in another folder with --out."
        )
    return kept


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"
