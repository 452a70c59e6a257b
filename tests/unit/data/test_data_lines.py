"""Hold the reading of lines to its promises about paths, pipes, long lines and files that change.

What cannot be written as the bytes of one small file stands here; the rest is the table of malformed files.
"""

import gzip
import os
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from calque.data.files.lines import LIMIT, open_lines
from calque.data.files.readers import Columns, Example, open_dataset, pairs
from calque.errors import DataError, UsageError

AB, CD = ("a", "b"), ("c", "d")
TWO = b"a\tb\n"


def test_line_over_the_limit(tmp_path: Path) -> None:
    """Lose the long line alone, whichever its length beside the block that is read."""
    path = tmp_path / "data.tsv"
    for size in (101, 102, 150, 5000):
        path.write_bytes(b"a\tb\n" + b"x" * size + b"\nc\td\n" + b"x" * size)
        errors: list[DataError] = []
        dataset = open_dataset([str(path)], Columns(), line_limit=100)
        assert list(pairs(dataset.examples(errors.append))) == [AB, CD]
        assert [(error.line, error.byte) for error in errors] == [(2, 100), (4, 100)]
        assert "split it" in str(errors[0])
    path.write_bytes(b"a\t" + b"x" * 98 + b"\n")
    assert len(list(open_dataset([str(path)], Columns(), line_limit=100).examples())) == 1


def test_huge_line(tmp_path: Path) -> None:
    """Refuse a line of 40 MB of zeros by its length, without taking it for UTF-16."""
    path = tmp_path / "data.tsv"
    path.write_bytes(b"a\tb\n")
    with path.open("ab") as stream:
        stream.truncate(40 * 2**20)
    with pytest.raises(DataError, match="4,194,304 bytes") as caught:
        list(open_dataset([str(path)], Columns()).examples())
    assert caught.value.line == 2


def test_long_line_takes_little_memory(tmp_path: Path) -> None:
    """Refuse a line of 15 MB without holding it: the most that is held is a few copies of the limit."""
    path = tmp_path / "data.tsv"
    path.write_bytes(b"a\tb\n" + b"word " * 3_000_000 + b"\tx\n")
    tracemalloc.start()
    with pytest.raises(DataError, match="split it"):
        list(open_dataset([str(path)], Columns()).examples())
    assert tracemalloc.get_traced_memory()[1] < 3 * LIMIT
    tracemalloc.stop()


def test_cut_gzip_names_the_line(tmp_path: Path) -> None:
    """Say near which line the data end."""
    path = tmp_path / "data.tsv.gz"
    data = gzip.compress(b"".join(b"line %d\t%d\n" % (number, number * 7919) for number in range(20000)))
    path.write_bytes(data[:-4000])
    dataset = open_dataset([str(path)], Columns())
    with pytest.raises(DataError, match="cut off") as caught:
        list(dataset.examples())
    assert 1000 < (caught.value.line or 0) <= 20000


def test_missing_file(tmp_path: Path) -> None:
    """Name the nearest file of the folder, or the folder that is missing as well."""
    (tmp_path / "pairs.tsv").write_bytes(TWO)
    with pytest.raises(UsageError, match=r'Did you mean "pairs\.tsv"\?'):
        open_dataset([str(tmp_path / "piars.tsv")], Columns())
    with pytest.raises(UsageError, match="its folder"):
        open_dataset([str(tmp_path / "no" / "pairs.tsv")], Columns())
    with pytest.raises(UsageError, match=r"(?i)nul"):
        open_dataset([str(tmp_path / "a\0b")], Columns())


def test_folder(tmp_path: Path) -> None:
    """Name what lies in the folder."""
    (tmp_path / "pairs.tsv").write_bytes(TWO)
    with pytest.raises(UsageError, match=r"is a folder: .*pairs\.tsv"):
        open_dataset([str(tmp_path)], Columns())


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Name the file and the command that makes it readable."""
    (tmp_path / "pairs.tsv").write_bytes(TWO)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UsageError, match=r"permission denied.*chmod"):
        open_dataset([str(tmp_path / "pairs.tsv")], Columns())


@pytest.mark.parametrize("data", [b"a\tb\nc\td\n", gzip.compress(b"a\tb\nc\td\n")], ids=["plain", "gzip"])
def test_fifo(data: bytes, tmp_path: Path) -> None:
    """Read a pipe as often as a file, from one copy whose name is that of its content."""
    fifo = tmp_path / "pipe.tsv"
    os.mkfifo(fifo)
    names = []
    for spool in (tmp_path / "spool", tmp_path / "spool", None):
        writer = threading.Thread(target=fifo.write_bytes, args=(data,))
        writer.start()
        dataset = open_dataset([str(fifo)], Columns(), spool)
        writer.join()
        assert [list(pairs(dataset.examples())) for _ in range(2)] == [[AB, CD]] * 2
        assert "from a pipe" in dataset.description
        names.append(dataset.files[0].path)
    assert names[0] == names[1]
    assert sorted((tmp_path / "spool").iterdir()) == [names[0]]
    del dataset
    assert not names[2].exists()


def test_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read `-` like a pipe, and refuse to read it as both sides."""
    (tmp_path / "data").write_bytes(b"a\tb\n\xff\tx\n")
    with (tmp_path / "data").open() as stream:
        monkeypatch.setattr("sys.stdin", stream)
        dataset = open_dataset(["-"], Columns(), tmp_path / "spool")
    with pytest.raises(DataError, match="standard input:2:0"):
        list(dataset.examples())
    with pytest.raises(UsageError, match="source and a target file"):
        open_dataset(["-", "-"], Columns())


def grow(path: Path) -> None:
    """Append a pair."""
    with path.open("ab") as stream:
        stream.write(b"e\tf\n")


def touch(path: Path) -> None:
    """Change the time alone: the bytes may have changed in place."""
    os.utime(path, (1, 1))


@pytest.mark.parametrize("change", [grow, touch, Path.unlink])
def test_changed_during_the_run(change: Callable[[Path], None], tmp_path: Path) -> None:
    """Refuse to go on between two passes and within one."""
    path = tmp_path / "pairs.tsv"
    path.write_bytes(b"a\tb\nc\td\n")
    dataset = open_dataset([str(path)], Columns())
    examples = dataset.examples()
    assert next(examples) == Example("a", ("b",), 1)
    change(path)
    with pytest.raises(DataError, match="while calque read it"):
        list(examples)
    with pytest.raises(DataError, match="while calque read it"):
        list(dataset.examples())


def test_lines_are_those_of_the_newline_byte(tmp_path: Path) -> None:
    """Agree with a plain split of the bytes, for lines and for their count."""
    path = tmp_path / "data.txt"
    for data in (b"a", b"a\n", b"a\n\n", b"\n", b"a\r\n\x1c\x0b\x0c\n\xc2\x85\n", b"x\n" * 3000):
        path.write_bytes(data)
        expected = data.removesuffix(b"\n").split(b"\n")
        file = open_lines(str(path))
        assert list(file.raw_lines()) == expected
        assert file.count() == len(expected)
