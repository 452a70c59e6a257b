"""Groups of the lines of a stream: the lines that have arrived form a group, and none waits longer than 50 ms."""

import queue
import threading
import time
from collections.abc import Iterator
from typing import BinaryIO

from calque.data.files.lines import LIMIT, decode_line, without_drop
from calque.errors import DataError

WAIT_SECONDS = 0.05
MOST_LINES = 2_048


def pending_lines(stream: BinaryIO, name: str, most: int = MOST_LINES) -> Iterator[list[str]]:
    """Yield the lines of `stream` in groups of at most `most`: those that have arrived, without waiting for more.

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
    """Wait for a line; return the lines that have arrived, and whether the stream has ended."""
    line = lines.get()
    deadline = time.monotonic() + WAIT_SECONDS
    group: list[bytes] = []
    while line is not None:
        group.append(line)
        if len(group) == most:
            return group, False
        try:
            line = lines.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            return group, False
    return group, True


def decode(raw: bytes, name: str, number: int) -> str:
    """Return one line of bytes as text, by the rules for files; `number` counts from 1. Raises DataError."""
    line = decode_line(raw.removesuffix(b"\n"), name, number)
    if isinstance(line, DataError):
        raise without_drop(line)
    return line


def _read(stream: BinaryIO, lines: "queue.Queue[bytes | None]") -> None:
    # One byte more than the limit shows that a line is too long, without reading all of it.
    try:
        while line := stream.readline(LIMIT + 1):
            lines.put(line)
            if len(line.removesuffix(b"\n")) > LIMIT:
                break
    finally:
        lines.put(None)
