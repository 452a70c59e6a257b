"""Word vectors as text: word2vec and fastText (.vec, a first line of two counts) or GloVe (none), plain or gzipped.

The file is read line by line, because such files have gigabytes; only the vectors of wanted words are kept.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calque.data.files.lines import TextFile, open_lines
from calque.errors import DataError

ADVICE = "a line is a word and its numbers with spaces between; a binary file must be converted to text first"
# Read at most this much of a line; a longer one has too many fields anyway.
LONGEST_LINE = 2**20


@dataclass(frozen=True)
class VectorFile:
    """A file of word vectors."""

    file: TextFile
    width: int
    """Numbers in a vector."""
    promised: int | None
    """Number of vectors that the first line announces; None if it is a vector already."""

    @classmethod
    def open(cls, path: str) -> "VectorFile":
        """Open a file; UsageError for a path that cannot be read, DataError for a file without vectors."""
        file = open_lines(path)
        first = next((_fields(raw) for raw in file.raw_lines(LONGEST_LINE)), [])
        if len(first) == 2 and all(field.isdigit() for field in first):
            count, width = map(int, first)
            if not width:
                raise DataError(f"the first line announces vectors without numbers; {ADVICE}", file.name, 1)
            return cls(file, width, count)
        if len(first) < 2:
            raise DataError(f"the first line has no vector; {ADVICE}", file.name, 1)
        return cls(file, len(first) - 1, None)

    def words(self, wanted: Callable[[str], bool]) -> Iterator[tuple[str, NDArray[np.float32] | None]]:
        """Yield every word in the order of the file, with its vector if it is wanted.

        Raises DataError for a line with another number of fields, and for a wanted one with a field that is no number.
        """
        skipped = 0 if self.promised is None else 1
        number = skipped
        for number, raw in enumerate(self.file.raw_lines(LONGEST_LINE), start=1):
            if number <= skipped:
                continue
            line = raw.replace(b"\t", b" ").rstrip(b" \r")
            # GloVe has words that contain spaces, so the numbers are counted from the right.
            if line.count(b" ") < self.width:
                raise DataError(
                    f"{line.count(b' ')} numbers, but the first vector of the file has {self.width}; {ADVICE}",
                    self.file.name,
                    number,
                )
            word = line.split(b" ", 1)[0] if line.count(b" ") == self.width else line.rsplit(b" ", self.width)[0]
            text = word.decode(errors="replace")
            yield text, self._numbers(line, number) if wanted(text) else None
        if self.promised is not None and number - skipped < self.promised:
            raise DataError(
                f"the file ends after {number - skipped:,} of {self.promised:,} vectors; copy or download it again",
                self.file.name,
                number,
            )

    def _numbers(self, line: bytes, number: int) -> NDArray[np.float32]:
        try:
            vector = np.array(line.rsplit(b" ", self.width)[1:]).astype(np.float64)
        except ValueError:
            raise DataError(f"a field is not a number; {ADVICE}", self.file.name, number) from None
        if not (np.abs(vector) <= np.finfo(np.float32).max).all():
            raise DataError("a number is infinite, too large or NaN", self.file.name, number)
        return vector.astype(np.float32)


def _fields(raw: bytes) -> list[bytes]:
    return raw.replace(b"\t", b" ").rstrip(b" \r").split(b" ")
