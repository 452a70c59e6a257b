"""Data in memory: pairs, or a table with columns, written once as JSON Lines and read like a file.

A table is recognised by its methods, so neither pandas nor polars has to be installed.
"""

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeAlias, runtime_checkable

from calque.data.files.columns import Columns
from calque.errors import DataError, UsageError, did_you_mean

SourceValue: TypeAlias = str | Mapping[str, object]
Pair: TypeAlias = tuple[SourceValue, str | Sequence[str]]


@runtime_checkable
class Table(Protocol):
    """A table such as a DataFrame of pandas or polars: names of columns, and the values of each."""

    @property
    def columns(self) -> Iterable[object]:
        """Return the names of the columns."""

    def __getitem__(self, name: str, /) -> Iterable[object]:
        """Return the values of a column."""


Data: TypeAlias = str | Path | Sequence[str | Path] | Iterable[Pair | Mapping[str, object]] | Table


class GivenFiles:
    """The files of the arguments of a call; data in memory are written to `folder` first.

    `in_memory` are the written files by the name of their argument.
    """

    def __init__(self, columns: Columns, folder: Path) -> None:
        self.columns, self.folder = columns, folder
        self.in_memory: dict[str, str] = {}

    def __call__(self, name: str, given: object) -> list[str]:
        """Return the paths of the data of the argument `name`."""
        paths = given_paths(name, given, self.columns, self.folder, "pairs" if name == "data" else name)
        if Path(paths[0]).parent == self.folder:
            self.in_memory[name] = paths[0]
        return paths

    def one(self, name: str, given: object) -> str | None:
        """Return the path of the only file of an argument; None if no data is given or it is in memory."""
        if given is None:
            return None
        found = self(name, given)
        if len(found) != 1:
            raise UsageError(f"{name} names {len(found)} files; it accepts one file of pairs")
        return None if name in self.in_memory else found[0]


@contextmanager
def given_files(columns: Columns) -> Iterator[GivenFiles]:
    """Yield the files of the arguments of a call; those of data in memory are removed at the end."""
    with tempfile.TemporaryDirectory(prefix="calque-") as folder:
        yield GivenFiles(columns, Path(folder))


def given_paths(argument: str, given: object, columns: Columns, folder: Path, stem: str = "pairs") -> list[str]:
    """Return the paths of data; data in memory are written to `folder` as STEM.jsonl first.

    Raises UsageError or DataError, which name `argument`, the position in it and the type of a value that is wrong.
    """
    if isinstance(given, str | Path):
        return [str(given)]
    if isinstance(given, Sequence) and given and all(isinstance(one, str | Path) for one in given):
        return [str(one) for one in given]
    path = folder / f"{stem}.jsonl"
    number = 0
    with path.open("w", encoding="utf-8") as file:
        for number, record in enumerate(_records(argument, given, columns), start=1):
            try:
                file.write(json.dumps(record) + "\n")
            except (TypeError, ValueError, RecursionError) as error:
                raise UsageError(f"{argument}[{number - 1}] cannot be written as JSON: {error}") from None
    if not number:
        raise DataError(f"{argument} is empty: at least one pair of source and target is needed")
    return [str(path)]


def _records(argument: str, given: object, columns: Columns) -> Iterator[dict[str, object]]:
    if isinstance(given, Mapping):
        yield from _rows(argument, list(given), given, columns)
    elif isinstance(given, Table):
        yield from _rows(argument, list(given.columns), given, columns)
    elif isinstance(given, Iterable) and not isinstance(given, bytes | bytearray):
        for number, item in enumerate(given):
            yield _record(f"{argument}[{number}]", item, columns)
    else:
        raise UsageError(
            f"{argument} is of type {type(given).__name__}; give a path, a list of pairs (source, target), or a table"
            " with columns"
        )


def _rows(
    argument: str, known: Sequence[object], table: Table | Mapping[str, Iterable[object]], columns: Columns
) -> Iterator[dict[str, object]]:
    for name in columns.names:
        if name not in known:
            names = ", ".join(f'"{one}"' for one in known[:8]) or "none"
            raise UsageError(
                f'{argument} has no column "{name}"; the columns are {names}.{did_you_mean(name, map(str, known))}'
                ' Name them, such as data.columns = {"source": "NAME", "target": "NAME"}'
            )
    try:
        values = [list(table[name]) for name in columns.names]
    except (TypeError, KeyError, IndexError) as error:
        raise UsageError(f"{argument} of type {type(table).__name__} does not return its columns: {error}") from None
    if len({len(column) for column in values}) > 1:
        lengths = ", ".join(str(len(column)) for column in values)
        raise UsageError(f"the columns of {argument} have unequal lengths: {lengths}")
    for number, row in enumerate(zip(*values, strict=True)):
        places = [f'{argument}["{name}"][{number}]' for name in columns.names]
        cells = [_value(place, cell) for place, cell in zip(places, row, strict=True)]
        yield dict(zip(columns.names, [*cells[:-1], _target(places[-1], cells[-1])], strict=True))


def _record(place: str, item: object, columns: Columns) -> dict[str, object]:
    """Return a pair as a record of the columns; a dictionary is such a record already."""
    if isinstance(item, Mapping):
        for name in columns.names:
            # A graph may be written as its own keys next to the target.
            if name not in item and not (name == "source" and "nodes" in item):
                known = ", ".join(f'"{key}"' for key in list(item)[:8]) or "none"
                raise UsageError(f'{place} has no "{name}"; the keys are {known}.{did_you_mean(name, map(str, item))}')
        return {str(name): _value(f"{place}[{name!r}]", value) for name, value in item.items()}
    if not isinstance(item, tuple | list):
        raise UsageError(f"{place} is of type {type(item).__name__}; it must be a pair (source, target)")
    if len(item) != 2:
        raise UsageError(f"{place} has {len(item)} items; it must be a pair (source, target)")
    source, target = _value(f"{place}[0]", item[0]), _target(f"{place}[1]", _value(f"{place}[1]", item[1]))
    if isinstance(source, Mapping) and len(columns.inputs) > 1:
        return {**source, columns.target: target}
    if len(columns.inputs) > 1:
        names = ", ".join(columns.inputs)
        raise UsageError(f"{place}[0] is of type {type(source).__name__}; it must be a dictionary with {names}")
    return {columns.inputs[0]: source, columns.target: target}


def _value(place: str, value: object) -> object:
    """Return text, a list or a dictionary; UsageError for numbers, bytes and missing values."""
    # Arrays in a table, such as several right answers in a Parquet file.
    if not isinstance(value, str | list | tuple | Mapping) and hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, str):
        return str(value)
    if isinstance(value, list | tuple):
        return list(value)
    if isinstance(value, Mapping):
        return dict(value)
    shown = f" ({value!r})" if isinstance(value, int | float) or value is None else ""
    raise UsageError(f"{place} is of type {type(value).__name__}{shown}; it must be text")


def _target(place: str, value: object) -> object:
    answers = value if isinstance(value, list) else [value]
    for number, answer in enumerate(answers):
        if not isinstance(answer, str):
            where = f"{place}[{number}]" if isinstance(value, list) else place
            raise UsageError(f"{where} is of type {type(answer).__name__}; it must be text")
    if not answers:
        raise UsageError(f"{place} is an empty list; it must contain at least one right answer")
    return value
