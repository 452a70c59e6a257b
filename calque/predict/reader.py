"""From parsed lines to batches: token ids, split if a line is too long, and padded."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from calque import rows
from calque.data.collate import collate_sources
from calque.errors import DataError, UsageError
from calque.ids import PAD
from calque.search.lengths import longest_output
from calque.search.options import SearchConfig
from calque.text.graph.layout import SourceError
from calque.text.inputs import InputLine
from calque.text.pair import TextPair
from calque.text.source import SourceIds
from calque.text.too_long import TooLong, fitted

# Source cells of one batch with padding: enough rows for fast products, few enough to stay in the cache.
BATCH_CELLS = 2048
MAX_BATCH = 128
# Hypotheses of one batch, and the tokens that they may have in all: wide beams and long outputs make batches smaller,
# which bounds the memory. Usual settings reach neither.
BATCH_HYPOTHESES = 2048
BATCH_HISTORY = 2**22

T = TypeVar("T")


@dataclass(frozen=True)
class SearchBatch:
    """The input of an engine: the `record` of B sources (a tuple of records for an ensemble), their `lengths` [B] in
    tokens with </s>, and `prefixes` [B, P]; `sources` are needed to write the hypotheses.
    """

    record: Any  # a Source, or a tuple of them for an ensemble: only the engine uses it
    lengths: Tensor
    prefixes: Tensor
    sources: Sequence[SourceIds]


class Reader(Protocol[T]):
    """Read lines as sources of type `T`."""

    @property
    def text(self) -> TextPair:
        """Return the text side that parses lines and writes answers."""

    @property
    def max_length(self) -> int:
        """Return the longest source, in tokens with </s>, that is answered as a whole."""

    @property
    def too_long(self) -> TooLong:
        """Return what happens to longer lines."""

    def read(self, lines: Sequence[InputLine]) -> list[list[T]]:
        """Return the sources of each line, several or none if it is too long; SourceError if it cannot be read."""

    def is_whole(self, sources: Sequence[T]) -> bool:
        """Return whether the sources of a line are the whole line, in one source."""

    def collate(self, sources: Sequence[T], device: torch.device) -> SearchBatch:
        """Return sources as one batch on `device`."""


@dataclass(frozen=True)
class TextReader:
    """Read lines for one model, which was trained on sources of at most `max_length` tokens with </s>.

    `too_long`: what happens to longer lines.
    """

    text: TextPair
    max_length: int
    too_long: TooLong = "split"

    def read(self, lines: Sequence[InputLine]) -> list[list[SourceIds]]:
        """Return the sources of each line: one, several parts or windows, or none if a long line is not answered."""
        found = []
        for number, source in enumerate(self.text.read_lines(lines)):
            try:
                found.append(fitted(source, self.max_length - 1, self.too_long))
            except DataError as error:
                raise SourceError(error.message, number) from None
        return found

    def is_whole(self, sources: Sequence[SourceIds]) -> bool:
        """Return whether the sources of a line are the whole line, in one source."""
        return len(sources) == 1 and not sources[0].is_part

    def collate(self, sources: Sequence[SourceIds], device: torch.device) -> SearchBatch:
        """Return sources as one batch on `device`."""
        record = collate_sources(list(sources), self.text.target.vocab_size)
        return on_device(record, sources, device)


def on_device(record: Any, sources: Sequence[SourceIds], device: torch.device) -> SearchBatch:
    """Return the batch of a record and its sources, on `device`."""
    lengths = torch.tensor([len(source) + 1 for source in sources])
    longest = max(len(source.prefix) for source in sources)
    prefixes = [[*source.prefix, *[PAD] * (longest - len(source.prefix))] for source in sources]
    moved = rows.to((record, lengths, torch.tensor(prefixes, dtype=torch.int64)), device)
    return SearchBatch(*moved, sources)


def batches_of(lengths: Sequence[int], batch_size: int, options: SearchConfig) -> Iterator[list[int]]:
    """Yield batches of places in `lengths`, longest first, so that memory reaches its peak at the start.

    `batch_size` 0 chooses by length, beam and length of the outputs. Raises UsageError if it is not a count.
    """
    if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 0:
        raise UsageError(f"batch_size: a whole number from 0 is needed, not {batch_size!r}")
    order = sorted(range(len(lengths)), key=lambda number: -lengths[number])
    start = 0
    while start < len(order):
        size = batch_size or _suitable_size(lengths[order[start]], options)
        yield order[start : start + size]
        start += size


def _suitable_size(length: int, options: SearchConfig) -> int:
    history = options.beam * max(1, longest_output(length, options))
    return max(1, min(MAX_BATCH, BATCH_CELLS // length, BATCH_HYPOTHESES // options.beam, BATCH_HISTORY // history))
