"""Lines in, answers out, as they come: what is pending is answered together, nothing waits for more than 50 ms."""

import queue
import threading
from collections.abc import Callable, Iterator
from typing import BinaryIO

from calque.data.files.lines import LIMIT, decode_line, without_drop
from calque.errors import DataError

WAIT_SECONDS = 0.05
MOST_LINES = 2_048


def pending_lines(stream: BinaryIO, name: str, most: int = MOST_LINES) -> Iterator[list[str]]:
    """Yield the lines of `stream` in groups: all that are there, at most `most`, none kept waiting for more.

    Raises DataError with line and byte for a line that is not text, after the lines before it were yielded.
    """
    lines: queue.Queue[bytes | None] = queue.Queue(maxsize=2 * most)
    threading.Thread(target=_read, args=(stream, lines), daemon=True).start()
    number, ended = 0, False
    while not ended:
        raw, ended = _waiting(lines, most)
        group = []
        for line in raw:
            number += 1
            try:
                group.append(decode(line, name, number))
            except DataError:
                if group:
                    yield group
                raise
        if group:
            yield group


def _waiting(lines: "queue.Queue[bytes | None]", most: int) -> tuple[list[bytes], bool]:
    """Return the lines that are there, waiting for the first, and whether the stream has ended."""
    line = lines.get()
    group: list[bytes] = []
    while line is not None:
        group.append(line)
        if len(group) == most:
            return group, False
        try:
            line = lines.get(timeout=WAIT_SECONDS)
        except queue.Empty:
            return group, False
    return group, True


def decode(raw: bytes, name: str, number: int) -> str:
    """Return one line of bytes as text, by the rules for files; `number` counts from 1. Raises DataError."""
    line = decode_line(raw.removesuffix(b"\n"), name, number)
    if isinstance(line, DataError):
        raise without_drop(line)
    return line


def answer_stream(
    stream: BinaryIO, name: str, answer: Callable[[list[str]], list[str]], write: Callable[[str], None]
) -> int:
    """Answer every line of `stream`, group by group and in order; return the number of lines."""
    count = 0
    for group in pending_lines(stream, name):
        write("".join(f"{line}\n" for line in answer(group)))
        count += len(group)
    return count


def _read(stream: BinaryIO, lines: "queue.Queue[bytes | None]") -> None:
    # One byte more than the limit shows that a line is too long, without reading all of it.
    try:
        while line := stream.readline(LIMIT + 1):
            lines.put(line)
            if len(line.removesuffix(b"\n")) > LIMIT:
                break
    finally:
        lines.put(None)
