"""Pronunciation dictionaries in the form of CMUdict: a word, spaces, and its phones.

Lines that begin with ;;; are comments, and so is the text after #. WORD(2) is another pronunciation of WORD.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import groupby

from calque.data.files.columns import Columns
from calque.data.files.formats import Example, Parsed
from calque.data.files.lines import DROP, LIMIT, TextFile
from calque.errors import DataError
from calque.text.identity import is_blank

COMMENT = ";;;"
_PHONE = r"[A-Z]{1,3}[0-2]?"
_CMU = re.compile(rf"\S+ {{1,2}}{_PHONE}( {_PHONE})*( #.*)?")
_ENTRY = re.compile(r"(\S+?)(?:\(\d+\))?\s+(\S.*)")


def is_lexicon(head: Sequence[str]) -> bool:
    """Return whether the first lines are entries of a dictionary like CMU's, or its comments."""
    entries = [line for line in head if not line.startswith(COMMENT)]
    has_comments = 0 < len(entries) < len(head)
    return all(map(_CMU.fullmatch, entries)) and (has_comments or len(entries) > 2)


def read_lexicon(file: TextFile, columns: Columns, limit: int = LIMIT) -> Parsed:
    """Yield an example for each word, with its pronunciations as the right answers."""
    for _, entries in groupby(_entries(file, limit), key=lambda entry: entry[0]):
        found = list(entries)
        errors = [entry[1] for entry in found if isinstance(entry[1], DataError)]
        yield from errors
        phones = tuple(dict.fromkeys(entry[1] for entry in found if isinstance(entry[1], str)))
        if phones:
            yield Example(found[0][0], phones, found[0][2])


def _entries(file: TextFile, limit: int) -> Iterator[tuple[str, str | DataError, int]]:
    """Yield the word, the phones and the number of each line; an error has its own word, which is empty."""
    for number, line in enumerate(file.lines(limit), start=1):
        if isinstance(line, DataError):
            yield "", line, number
        elif not is_blank(line) and not line.startswith(COMMENT):
            entry = _ENTRY.fullmatch(line.partition(" #")[0].strip())
            if entry:
                yield entry[1], " ".join(entry[2].split()), number
            else:
                problem = f"a word without phones; write WORD, spaces and phones{DROP}"
                yield "", DataError(problem, file.name, number), number
