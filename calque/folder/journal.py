"""Lines of JSON that a run writes as it goes, and cuts back to a checkpoint when it resumes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from calque.system.files import write_atomic


class Journal:
    """Append to one file of JSON lines; each is whole or absent, whenever the process dies."""

    def __init__(self, path: Path, step: int) -> None:
        """Open `path` with what it held up to `step`; later lines are dropped."""
        kept = [line for line in read_journal(path) if line.get("step", 0) <= step]
        write_atomic(path, "".join(_line(row) for row in kept))
        self._file: TextIO = path.open("a", encoding="utf-8", buffering=1)

    def write(self, row: dict[str, Any]) -> None:
        """Append one line."""
        self._file.write(_line(row))

    def __enter__(self) -> "Journal":
        """Go on writing while the block runs."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the file."""
        self._file.close()


def read_journal(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the whole lines of a journal; a last line that was cut off is left out."""
    if not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        for line in file:
            try:
                row = json.loads(line)
            except ValueError:
                return
            if isinstance(row, dict):
                yield row


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"
