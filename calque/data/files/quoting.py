"""Quotation marks that a CSV program put around texts, in files whose quotation marks are otherwise text.

A CSV program doubles a quotation mark inside such a text (RFC 4180); other texts hardly ever do.
"""

import re
from collections.abc import Iterable
from typing import Literal

Quoting = Literal["text", "csv"]

READ_AS_CSV = "--set data.columns.quoting=csv"
# A shorter file in which every text is in quotation marks may be dialogue.
ENOUGH_LINES = 10

_QUOTED = re.compile(r'"(?:[^"]+|"")*"')


def is_quoted(text: str) -> bool:
    """Return whether a CSV program could have written `text` in quotation marks."""
    return text.startswith('"') and bool(_QUOTED.fullmatch(text))


def unquoted(text: str) -> str:
    """Return the text that a CSV program wrote as `text`."""
    return text[1:-1].replace('""', '"') if is_quoted(text) else text


def is_torn(cell: str) -> bool:
    """Return whether `cell` looks like a part of a quoted text: a quotation mark at one end only."""
    return cell.startswith('"') != cell.endswith('"')


class QuoteCount:
    """Count the lines whose texts a CSV program put in quotation marks.

    The evidence is a text with a doubled quotation mark inside, or a file in which every text is quoted.
    """

    def __init__(self) -> None:
        self._lines = self._doubled = self._quoted = 0
        self._first_doubled = self._first = 0

    def add(self, texts: Iterable[str], line: int) -> None:
        """Take the texts of one line into account."""
        self._lines += 1
        self._first = self._first or line
        quoted = [text for text in texts if text]
        self._quoted += bool(quoted) and all(map(is_quoted, quoted))
        if any('""' in text[1:-1] and is_quoted(text) for text in quoted if text.startswith('"')):
            self._doubled += 1
            self._first_doubled = self._first_doubled or line

    @property
    def found(self) -> tuple[int, int]:
        """Return the number of such lines and the first of them; (0, 0) without evidence."""
        if self._lines >= ENOUGH_LINES and self._quoted == self._lines:
            return self._quoted, self._first
        return self._doubled, self._first_doubled


def advice(count: int, first: int) -> str:
    """Return the notice about `count` quoted lines, the first of which has the number `first`."""
    return (
        f"{count:,} lines have texts in quotation marks, as a CSV program writes them (the first is line {first:,});"
        f" the marks are read as part of the text. To remove them: {READ_AS_CSV}"
    )
