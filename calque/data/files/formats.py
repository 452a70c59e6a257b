"""Turn the lines of a TSV or CSV file, or of two plain files, into examples, one at a time.

Each reader yields an example or the error of a line, and raises an error that concerns the whole file.
"""

import csv
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from calque.data.files.columns import Columns
from calque.data.files.lines import DROP, LIMIT, LineError, TextFile, without_drop
from calque.data.files.quoting import READ_AS_CSV, is_quoted, is_torn, unquoted
from calque.errors import DataError, did_you_mean
from calque.text.identity import is_blank

RENAME = "--set data.columns.source=NAME --set data.columns.target=NAME"
SEVERAL = """--set data.columns.source='["NAME", "NAME"]'"""

_DOUBLE_MARK = 'write a quotation mark inside a text as ""'


@dataclass(frozen=True, slots=True)
class Example:
    """A source and its right answers."""

    source: str
    targets: tuple[str, ...]
    """The right answers, at least one."""
    line: int
    """Number of the line, from 1."""


Parsed = Iterator[Example | DataError]


def read_tsv(file: TextFile, columns: Columns, limit: int = LIMIT) -> Parsed:
    """Yield the examples of two columns separated by a tab, or of the named columns of a file with a header.

    Several sources, or a tag, need a header that names them. An empty line is an empty pair.
    """
    positions: tuple[int, ...] | None = None
    width, started = 2, False
    is_csv = columns.quoting == "csv"
    records = csv_records(file, "\t", limit) if is_csv else _tab_records(file, limit)
    for number, cells in records:
        if isinstance(cells, DataError):
            if not started and columns.are_named:
                raise without_drop(cells)
            yield cells
            continue
        if len(cells) <= 1 and is_blank("".join(cells)):
            yield Example("", ("",), number)
            continue
        if not started:
            started = True
            positions = tsv_header(cells, columns, file.name, number)
            if positions:
                width = len(cells)
                continue
        if len(cells) != width:
            yield DataError(_tsv_problem(cells, width, positions is not None, is_csv), file.name, number)
            continue
        yield example_of([cells[place] for place in positions or (0, 1)], columns, file.name, number)


def _tab_records(file: TextFile, limit: int) -> Iterator[tuple[int, list[str] | DataError]]:
    for number, line in enumerate(file.lines(limit), start=1):
        yield number, line if isinstance(line, DataError) else line.split("\t")


def tsv_header(cells: Sequence[str], columns: Columns, name: str, number: int) -> tuple[int, ...] | None:
    """Return the positions of the columns if the first line names them, None if it is a pair.

    Raises DataError if a column that the user named is not there, or is there twice.
    """
    if set(columns.names) <= set(cells):
        return _positions(cells, columns, name, number)
    if set(columns.names) <= set(map(unquoted, cells)):
        problem = "the column names are in quotation marks, as a CSV program writes them"
        raise DataError(f"{problem}; remove the marks, or use {READ_AS_CSV}", name, number)
    if columns.are_named:
        raise _no_column(cells, columns, name, number)
    return None


def _positions(cells: Sequence[str], columns: Columns, name: str, number: int) -> tuple[int, ...]:
    twice = [column for column in columns.names if cells.count(column) > 1]
    if twice:
        raise DataError(f'the first line names the column "{twice[0]}" twice; rename one of the two', name, number)
    return tuple(map(cells.index, columns.names))


def _tsv_problem(cells: Sequence[str], width: int, header: bool, is_csv: bool) -> str:
    found = len(cells)
    torn = not is_csv and any(map(is_torn, cells))
    quoted = f" (if a CSV program wrote the file: {READ_AS_CSV})" if torn else ""
    if header:
        return f"{found} columns, but the header has {width}; fix the line{quoted}{DROP}"
    if found == 1:
        return f"there is no tab, so no target; put a tab between source and target{quoted}{DROP}"
    advice = f"keep two (cut -f 1,2 FILE > OUT), or add a header line and name two of its columns: {RENAME}"
    return f"{found} columns instead of two; {advice} (for several sources: {SEVERAL}){quoted}{DROP}"


def example_of(cells: Sequence[str], columns: Columns, name: str, number: int) -> Example | DataError:
    """Return the example of cells in the order of `columns.names`."""
    try:
        return Example(columns.join(cells[:-1]), (cells[-1],), number)
    except ValueError as error:
        return DataError(f"{error}; fill it in{DROP}", name, number)


class _CsvFeed:
    """Pass lines to the csv module and remember a bad one, so that only its record is lost."""

    def __init__(self, lines: Iterator[str | LineError]) -> None:
        self.lines = lines
        self.number = 0
        self.error: LineError | None = None

    def __iter__(self) -> "_CsvFeed":
        return self

    def __next__(self) -> str:
        line = next(self.lines)
        self.number += 1
        if isinstance(line, LineError):
            self.error = self.error or line
            return line.text + "\n"
        return line + "\n"


def csv_records(file: TextFile, delimiter: str, limit: int = LIMIT) -> Iterator[tuple[int, list[str] | DataError]]:
    """Yield the number of each record's first line with its cells, without quotation marks, or with the error."""
    csv.field_size_limit(limit)
    feed = _CsvFeed(file.lines(limit))
    reader = csv.reader(feed, strict=True, delimiter=delimiter)
    while True:
        first, feed.error = feed.number + 1, None
        problem: DataError | None = None
        cells: list[str] = []
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            problem = DataError(_csv_problem(str(error), feed.number - first + 1), file.name, first)
        yield first, feed.error or problem or cells


def read_csv(file: TextFile, columns: Columns, limit: int = LIMIT) -> Parsed:
    """Yield the examples of comma-separated values; the header must name all columns."""
    positions: tuple[int, ...] | None = None
    width = 0
    for first, cells in csv_records(file, ",", limit):
        if isinstance(cells, DataError):
            # Without its header, no line of the file can be read.
            if positions is None:
                raise without_drop(cells)
            yield cells
        elif len(cells) <= 1 and is_blank("".join(cells)):
            yield Example("", ("",), first)
        elif positions is None:
            if not set(columns.names) <= set(cells):
                raise _no_column(cells, columns, file.name, first)
            positions, width = _positions(cells, columns, file.name, first), len(cells)
        elif len(cells) != width:
            advice = f'put a text that contains a comma in "…"{DROP}'
            yield DataError(f"{len(cells)} cells, but the header has {width}; {advice}", file.name, first)
        else:
            yield example_of([cells[place] for place in positions], columns, file.name, first)


def _csv_problem(reason: str, lines: int) -> str:
    if "unexpected end" in reason or "field limit" in reason:
        return f"a quotation mark opens a text and none closes it ({lines:,} lines are lost); {_DOUBLE_MARK}"
    if "new-line" in reason:
        return f"a carriage return outside quotation marks; put the text in quotation marks{DROP}"
    return f"text after a closing quotation mark ({reason}); {_DOUBLE_MARK}"


def _no_column(cells: Sequence[str], columns: Columns, name: str, number: int) -> DataError:
    missing = next(column for column in columns.names if column not in cells)
    problem = f'no column "{missing}"; the first line has {listed(cells)}.{did_you_mean(missing, cells)}'
    return DataError(f"{problem} Name them with: {RENAME}", name, number)


def listed(names: Sequence[str]) -> str:
    """Return the first names in quotation marks, shortened."""
    short = [f'"{name[:40]}…"' if len(name) > 40 else f'"{name}"' for name in names[:8]]
    return ", ".join(short) + (", …" if len(names) > 8 else "") if names else "none"


def read_parallel(source: TextFile, target: TextFile, columns: Columns, limit: int = LIMIT) -> Parsed:
    """Yield the pairs of two plain files, line by line; for a bad line on either side, yield its error instead."""
    is_csv = columns.quoting == "csv"
    both = itertools.zip_longest(source.lines(limit), target.lines(limit))
    for number, (left, right) in enumerate(both, start=1):
        if isinstance(left, DataError):
            yield left
        elif isinstance(right, DataError):
            yield right
        elif left is None or right is None:
            # The lines were counted when the files were opened, so one has changed since.
            raise DataError("one of the two files changed while calque read it; start again", source.name, number)
        elif is_csv and (_is_open(left) or _is_open(right)):
            name = source.name if _is_open(left) else target.name
            problem = "a quotation mark opens a text and does not close it on the line"
            yield DataError(f"{problem}; write each text on one line{DROP}", name, number)
        elif is_csv:
            yield Example(unquoted(left), (unquoted(right),), number)
        else:
            yield Example(left, (right,), number)


def _is_open(line: str) -> bool:
    """Return whether a line begins with a quotation mark but is not a whole quoted text."""
    return line.startswith('"') and not is_quoted(line)
