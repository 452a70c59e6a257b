"""Keep a uniform sample of a stream of lines in bounded memory, to learn a vocabulary from any amount of text.

Each line draws a random key; the lines with the smallest keys stay (Efraimidis and Spirakis 2006, equal weights).
"""

import heapq
import random

MAX_BYTES = 10_000_000


class Reservoir:
    """Sample lines up to `max_bytes` of UTF-8, newlines included; the same seed and lines give the same sample.

    A line that exceeds the bound by itself is never kept.
    """

    def __init__(self, seed: int, max_bytes: int = MAX_BYTES) -> None:
        self._random = random.Random(seed)
        self._max_bytes = max_bytes
        self._heap: list[tuple[float, int, bytes]] = []
        self._bytes = 0
        self._seen = 0
        # Keys above the smallest dropped one are refused; otherwise short lines would replace a dropped long one.
        self._bound = 1.0

    def add(self, line: str) -> None:
        """Add one more line of the stream."""
        key = self._random.random()
        self._seen += 1
        if key >= self._bound:
            return
        raw = line.encode("utf-8")
        if len(raw) + 1 > self._max_bytes:
            return
        heapq.heappush(self._heap, (-key, self._seen, raw))
        self._bytes += len(raw) + 1
        while self._bytes > self._max_bytes:
            dropped, _, dropped_raw = heapq.heappop(self._heap)
            self._bytes -= len(dropped_raw) + 1
            self._bound = -dropped

    @property
    def seen(self) -> int:
        """Return the number of lines added so far."""
        return self._seen

    def lines(self) -> list[str]:
        """Return the sample in the order of the stream."""
        return [raw.decode("utf-8") for _, _, raw in sorted(self._heap, key=lambda item: item[1])]
