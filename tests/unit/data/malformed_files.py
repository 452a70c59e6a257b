"""Rows of the tables of malformed files: the bytes of a file and its written outcome."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from calque.data.files.readers import Columns, Dataset, open_dataset, pairs
from calque.errors import DataError


@dataclass(frozen=True)
class Case:
    """The bytes of one file (of two: plain files) and the pairs read from it, one example per line."""

    name: str
    content: bytes | tuple[bytes, bytes]
    pairs: list[tuple[str, str]]
    suffix: str = ".tsv"
    description: str = "TSV"
    joined: int = 0


@dataclass(frozen=True)
class Bad:
    """The bytes of a file and its error; `others`: the pairs read when bad lines are skipped, None if fatal."""

    name: str
    content: bytes | tuple[bytes, bytes]
    line: int | None
    byte: int | None
    fix: str
    others: list[tuple[str, str]] | None = None
    suffix: str = ".tsv"


def open_case(folder: Path, content: bytes | tuple[bytes, bytes], suffix: str) -> Dataset:
    """Write the file or files and open them."""
    paths = [folder / f"data{suffix}"] if isinstance(content, bytes) else [folder / "data.xx", folder / "data.yy"]
    for path, data in zip(paths, [content] if isinstance(content, bytes) else content, strict=True):
        path.write_bytes(data)
    return open_dataset([str(path) for path in paths], Columns())


def hold_what_is_read(case: Case, folder: Path) -> None:
    """Assert that exactly the texts of the file are read, twice."""
    dataset = open_case(folder, case.content, case.suffix)
    assert dataset.description == case.description
    for _ in range(2):
        assert list(pairs(dataset.examples())) == case.pairs
        assert dataset.joined_newlines == case.joined
    assert dataset.name == "data"


def hold_what_is_refused(bad: Bad, folder: Path) -> None:
    """Assert that file, line, byte and a way to fix it are named, in at most six lines."""
    with pytest.raises(DataError) as caught:
        list(open_case(folder, bad.content, bad.suffix).examples())
    error = caught.value
    assert bad.fix in str(error)
    assert "data" in str(error)
    assert str(error).count("\n") < 6
    if "gzip" not in bad.name:
        assert (error.line, error.byte) == (bad.line, bad.byte)
