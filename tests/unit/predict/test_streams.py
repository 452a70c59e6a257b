"""Lines of a pipe: nothing waits for more, nothing is lost, and what is no text is named."""

import io
import os
import queue
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from calque.data.files.lines import LIMIT, open_lines, without_drop
from calque.errors import DataError
from calque.predict.stream import MOST_LINES, decode, pending_lines


def grouped(text: bytes, most: int = MOST_LINES) -> list[list[str]]:
    """Return the groups that a stream of `text` comes in."""
    return list(pending_lines(io.BytesIO(text), "the pipe", most))


@pytest.mark.parametrize("count", [0, 1, 5, 6, 7, 100])
def test_groups_hold_every_line_once_and_in_order(count: int) -> None:
    """Cut any number of lines into groups of the given size at most."""
    lines = [f"line {number}" for number in range(count)]
    groups = grouped("".join(f"{line}\n" for line in lines).encode(), most=6)
    assert [line for group in groups for line in group] == lines
    assert all(1 <= len(group) <= 6 for group in groups)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (b"one\r\ntwo\n", ["one", "two"]),
        (b"one\r\r\ntwo", ["one\r", "two"]),
        (b"\xef\xbb\xbfone\n\xef\xbb\xbftwo\n", ["one", "\ufefftwo"]),
        (b"\n\n", ["", ""]),
        (b"\n", [""]),
        ("a\u2028b\u0085c\x1cd\n".encode(), ["a\u2028b\u0085c\x1cd"]),
    ],
)
def test_only_a_newline_ends_a_line(text: bytes, lines: list[str]) -> None:
    """Take off one carriage return, and a byte-order mark at the very start."""
    assert [line for group in grouped(text) for line in group] == lines


def test_a_line_is_handed_over_before_the_next_comes() -> None:
    """Wait neither for the end of the pipe nor for more lines."""
    reading, writing = os.pipe()
    answered: queue.Queue[str] = queue.Queue()
    with os.fdopen(reading, "rb") as stream, os.fdopen(writing, "wb", buffering=0) as pipe:

        def answer() -> None:
            for group in pending_lines(stream, "p"):
                answered.put("".join(f"{line}\n" for line in group))

        worker = threading.Thread(target=answer)
        worker.start()
        for text in ("one\n", "\n", "three\n"):
            start = time.monotonic()
            pipe.write(text.encode())
            assert answered.get(timeout=30) == text
            assert time.monotonic() - start < 10
        pipe.close()
        worker.join(timeout=30)
        assert not worker.is_alive()


def test_lines_that_are_there_are_answered_together() -> None:
    """Put what is pending into one group, so that it is computed at once."""
    groups = grouped(b"x\n" * 500)
    # Under load the reader may fall behind the 50 ms now and then, yet groups stay large.
    assert len(groups) < 50
    assert sum(map(len, groups)) == 500


def test_lines_that_keep_coming_do_not_delay_the_first() -> None:
    """Answer a line soon even where another one comes every few milliseconds."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stream, os.fdopen(writing, "wb", buffering=0) as pipe:

        def drip() -> None:
            for _ in range(100):
                pipe.write(b"line\n")
                time.sleep(0.02)
            pipe.close()

        writer = threading.Thread(target=drip)
        writer.start()
        groups = list(pending_lines(stream, "p"))
        writer.join()
    assert sum(map(len, groups)) == 100
    # Two seconds of lines, in groups of about 50 milliseconds.
    assert len(groups) > 5


def test_bad_bytes_are_named_after_the_lines_before() -> None:
    """Yield what is good, then raise with name, line and byte."""
    groups: Iterator[list[str]] = pending_lines(io.BytesIO(b"one\nt\xc3\xa4\nx\xffy\nfour\n"), "the pipe")
    found = []
    with pytest.raises(DataError) as caught:
        found.extend(line for group in groups for line in group)
    assert found == ["one", "tä"]
    assert (caught.value.file, caught.value.line, caught.value.byte) == ("the pipe", 3, 1)
    assert "0xFF" in str(caught.value)


@pytest.mark.parametrize("bad", [b"\x80", b"\xc3", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf5\x80\x80\x80"])
def test_every_kind_of_bad_utf8_is_refused(bad: bytes) -> None:
    """Tell stray, cut, surrogate, overlong and out-of-range bytes by their place."""
    with pytest.raises(DataError) as caught:
        decode(b"ab" + bad + b"\n", "p", 7)
    assert (caught.value.line, caught.value.byte) == (7, 2)


def test_an_endless_line_is_refused_before_it_fills_the_memory() -> None:
    """Stop reading one byte after the limit."""
    stream = io.BytesIO(b"x" * (LIMIT + 1000))
    with pytest.raises(DataError, match="split it"):
        list(pending_lines(stream, "p"))
    assert stream.tell() == LIMIT + 1


def test_a_stream_that_fails_does_not_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    """End when reading fails; the error itself shows as that of the reading thread."""

    class Broken(io.BytesIO):
        def readline(self, size: int | None = -1) -> bytes:
            raise OSError("gone")

    seen: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lambda arguments: seen.append(arguments.exc_value))
    assert list(pending_lines(Broken(), "p")) == []
    assert [type(error) for error in seen] == [OSError]


@pytest.mark.parametrize(
    "raw", [b"a\0b", b"\0ab", b"a\xffb", b"x" * (LIMIT + 1), b"\xef\xbb\xbfa", b"a\r", b"a\rb", b"\xef\xbb\xbf"]
)
@pytest.mark.parametrize("number", [1, 2])
def test_a_pipe_reads_as_a_file_does(raw: bytes, number: int, tmp_path: Path) -> None:
    """Give the same text, or name the same place and problem, for a line from a pipe and from a file."""
    path = tmp_path / "lines"
    path.write_bytes(b"first\n" * (number - 1) + raw + b"\n")
    read = list(open_lines(str(path)).lines())[number - 1]
    try:
        from_pipe: str | tuple[str, int | None, int | None] = decode(raw + b"\n", "p", number)
    except DataError as error:
        from_pipe = (error.message, error.line, error.byte)
    expected = read if isinstance(read, str) else (without_drop(read).message, read.line, read.byte)
    assert from_pipe == expected
