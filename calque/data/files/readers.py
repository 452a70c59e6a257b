"""Open a data set in any format, so that training, evaluation and checks all read the same pairs.

The content decides the format. Every pass streams from the file, and no text contains a newline or a tab.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from pydantic import Field

from calque.config import Config
from calque.data.files.alignment import refuse_unequal
from calque.data.files.columns import Columns
from calque.data.files.detect import HEAD_LINES, detect, names_in, refuse_foreign
from calque.data.files.formats import (
    Example,
    Parsed,
    read_parallel,
)
from calque.data.files.lines import LIMIT, STANDARD_INPUT, TextFile, open_lines, without_drop
from calque.data.files.quoting import QuoteCount, advice
from calque.errors import DataError, UsageError
from calque.text.graph.layout import SourceError
from calque.text.identity import is_blank
from calque.text.too_long import TooLong

__all__ = ["Columns", "DataConfig", "Dataset", "Example", "lines_named", "open_dataset", "pairs"]

_BREAK = re.compile(r"\r\n|[\r\n\t]")
# Between the columns of the source side a tab stays.
_LINE_BREAK = re.compile(r"\r\n|[\r\n]")
_SUFFIXES = {".gz", ".tsv", ".csv", ".jsonl", ".json", ".txt"}
# Number of lines among which a good one is looked for if the first is bad.
_LOOK_AHEAD = 1_000


class DataConfig(Config):
    """The fields of data other than the training pairs, and of columns."""

    valid: str | None = None
    """File of pairs to validate on; none: data in memory, or a tenth of the training pairs by a hash of the source."""
    test: str | None = None
    """File of pairs to score after training; none: data in memory, if any."""
    max_length: int = Field(default=0, ge=0, le=100_000)
    """Maximum length in tokens of sources and targets in training; 0: chosen from the data."""
    too_long: TooLong = "split"
    """Sources with more tokens: split (answered in parts; left out in training), head, tail or head_tail (shortened),
    windows (overlapping; the best answer is kept), drop (left out, answered with an empty line) or refuse."""
    columns: Columns = Columns()
    """Names of the columns or keys, and how cells are quoted."""


class Dataset:
    """A data set whose examples can be read repeatedly, in the order of the file.

    `name` is the file's name without its endings, `description` its format in words. After a whole pass,
    `joined_newlines` is the number of line breaks and tabs inside texts that were read as spaces. `quoted_lines` are
    the number of lines with quotation marks of a CSV program that were read as text, and the first of these lines.
    """

    def __init__(
        self,
        name: str,
        description: str,
        files: Sequence[TextFile],
        read: Callable[[], Parsed],
        columns: Columns = Columns(),  # noqa: B008 — frozen
    ) -> None:
        self.name = name
        self.description = description
        self.files = tuple(files)
        self.columns = columns
        self.joined_newlines = 0
        self.quoted_lines = 0, 0
        self._read = read

    def examples(self, on_bad: Callable[[DataError], None] | None = None) -> Iterator[Example]:
        """Yield every example, also those with an empty side.

        A bad line raises its DataError, or is passed to `on_bad` and skipped. Raises DataError for a file that cannot
        be read as a whole, and at the end of a pass without a pair that has text on both sides.
        """
        joined, lines, usable = 0, 0, False
        quotes = QuoteCount() if self._can_be_quoted else None
        source_break = _BREAK if len(self.columns.inputs) == 1 else _LINE_BREAK
        first_bad: DataError | None = None
        items = self._read()
        for item in items:
            lines += 1
            if isinstance(item, DataError):
                if on_bad is None:
                    raise item if usable or self._has_usable(items) else without_drop(item)
                first_bad = first_bad or item
                on_bad(item)
                continue
            texts = (item.source, *item.targets)
            # Three searches for a character take a tenth of the time of one pattern.
            if any("\n" in text or "\r" in text or "\t" in text for text in texts):
                joined += len(source_break.findall(item.source))
                joined += sum(len(_BREAK.findall(target)) for target in item.targets)
                targets = tuple(_BREAK.sub(" ", target) for target in item.targets)
                item = Example(source_break.sub(" ", item.source), targets, item.line)
            if quotes is not None:
                quotes.add((*item.source.split("\t"), *item.targets), item.line)
            usable = usable or self._is_usable(item)
            yield item
        self.joined_newlines = joined
        self.quoted_lines = quotes.found if quotes is not None else (0, 0)
        if not usable:
            what = f"the first error is: {without_drop(first_bad)}" if first_bad else "each has an empty side"
            count = f"{lines:,} line{'s' * (lines != 1)}"
            raise DataError(f"no usable pair in {count}; {what}", None if first_bad else self.files[0].name)

    def notices(self) -> list[str]:
        """Return the notices about the last whole pass."""
        found = []
        if self.joined_newlines:
            found.append(f"{self.joined_newlines:,} line breaks or tabs inside texts were read as spaces")
        if self.quoted_lines[0]:
            found.append(advice(*self.quoted_lines))
        return found

    @property
    def _can_be_quoted(self) -> bool:
        return self.columns.quoting == "text" and self.description.startswith(("TSV", "two plain files"))

    def _is_usable(self, example: Example) -> bool:
        return not (is_blank(self.columns.untagged(example.source)) or all(map(is_blank, example.targets)))

    def _has_usable(self, items: Parsed) -> bool:
        """Return whether one of the next items is usable, so that dropping bad lines would help."""
        try:
            return any(isinstance(item, Example) and self._is_usable(item) for item in islice(items, _LOOK_AHEAD))
        except DataError:
            return False

    def digest(self) -> str:
        """Return the SHA-256 of the file's bytes as stored; for two files, that of their two digests."""
        digests = []
        for file in self.files:
            with file.path.open("rb") as stream:
                digests.append(hashlib.file_digest(stream, "sha256"))
        if len(digests) == 1:
            return digests[0].hexdigest()
        return hashlib.sha256(b"".join(digest.digest() for digest in digests)).hexdigest()


def pairs(examples: Iterable[Example]) -> Iterator[tuple[str, str]]:
    """Yield a pair for each right answer of each example."""
    for example in examples:
        for target in example.targets:
            yield example.source, target


@contextmanager
def lines_named(examples: Sequence[Example]) -> Iterator[None]:
    """Replace an error that names a source by its place among `examples` by one that names its line."""
    try:
        yield
    except SourceError as error:
        raise DataError(f"line {examples[error.number].line:,} of the data: {error.message}") from None


def open_dataset(
    paths: Sequence[str],
    columns: Columns,
    spool: Path | None = None,
    line_limit: int = LIMIT,
    usual: Sequence[Columns] = (),
) -> Dataset:
    """Open one file of pairs, or two plain files of which line N of one belongs to line N of the other.

    If `columns` are the default ones and the file lacks them, the first of the `usual` ones that it has are used.
    `-` is standard input; a pipe is copied into the folder `spool`, or into a temporary file. Raises UsageError for
    paths that cannot be read, and DataError for a file in another format or for files with different numbers of lines.
    """
    if len(paths) not in (1, 2) or list(paths) == ["-", "-"]:
        raise UsageError(f"{len(paths)} data files were given; give one file of pairs, or a source and a target file.")
    files = [open_lines(path, spool) for path in paths]
    endings = ["gzipped"] * any(file.gzipped for file in files) + ["from a pipe"] * any(file.piped for file in files)
    if len(files) == 2:
        source, target = files
        if len(columns.inputs) > 1:
            what = "and".join(f' "{name}" ' for name in columns.inputs).strip()
            raise UsageError(
                f"two plain files have no columns {what}: give one file with a header that names them, or JSON Lines."
            )
        _refuse_two_sets(source, target, columns)
        refuse_unequal(source, target)
        description = ", ".join(["two plain files", *endings])
        return Dataset(
            _name(files), description, files, lambda: read_parallel(source, target, columns, line_limit), columns
        )
    (file,) = files
    if not columns.are_named:
        names = names_in(file, line_limit)
        columns = next((known for known in (columns, *usual) if set(known.names) <= names), columns)
    form, read = detect(file, columns, line_limit)
    return Dataset(_name(files), ", ".join([form, *endings]), files, lambda: read(file, columns, line_limit), columns)


def _refuse_two_sets(source: TextFile, target: TextFile, columns: Columns) -> None:
    """Refuse files in other formats, and two files of pairs, which are most likely for training and for validation."""
    heads = []
    for file in (source, target):
        head = [line for line in islice(file.lines(), HEAD_LINES) if isinstance(line, str)]
        visible = [line for line in head if not is_blank(line)]
        if visible:
            refuse_foreign(file, visible)
        heads.append(head)
    if all(_are_pairs(head, columns) for head in heads):
        advice = f"give one and name the other with --valid {target.name}"
        raise UsageError(f'"{source.name}" and "{target.name}" each contain pairs: {advice}.')


def _are_pairs(head: Sequence[str], columns: Columns) -> bool:
    """Return whether each line has one tab, or the first line has the names of the columns."""
    if not head:
        return False
    if all(line.count("\t") == 1 for line in head):
        return True
    cells = {cell.strip(' "{') for line in head[:1] for part in re.split("[,\t;]", line) for cell in part.split(":")}
    return set(columns.names) <= cells


def _name(files: Sequence[TextFile]) -> str:
    """Return the first file's name without its endings; for two such as train.en and train.zh, their common part."""
    if files[0].name == STANDARD_INPUT or files[0].name.startswith("/dev/"):
        return "pipe"
    names = []
    for file in files:
        path = Path(Path(file.name).name)
        while path.suffix in _SUFFIXES and path.stem:
            path = Path(path.stem)
        names.append(path)
    if len(names) == 2 and names[0].stem == names[1].stem:
        return names[0].stem
    return names[0].name
