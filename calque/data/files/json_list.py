"""A JSON document that is a list of objects, each of which is an example like a line of JSON Lines."""

import json
import re

from calque.config import Json
from calque.data.files.columns import Columns
from calque.data.files.formats import Parsed
from calque.data.files.json_lines import example_of_record
from calque.data.files.lines import LIMIT, TextFile
from calque.errors import DataError

_START = re.compile(r'\s*\[\s*\{\s*"')


def is_json_list(start: str) -> bool:
    """Return whether a file that starts like this is a list of objects."""
    return bool(_START.match(start))


def read_json_list(file: TextFile, columns: Columns, limit: int = LIMIT) -> Parsed:
    """Yield the example of each object, numbered from 1; DataError for a document that is not JSON."""
    for number, record in enumerate(_objects(file), start=1):
        yield example_of_record(record, columns, file.name, number)


def names_of_first(file: TextFile) -> set[str]:
    """Return the keys of the first object."""
    first = _objects(file)[0]
    return set(first) if isinstance(first, dict) else set()


def _objects(file: TextFile) -> "list[Json]":
    try:
        found = json.loads(file.whole())
    except json.JSONDecodeError as error:
        problem = f"not JSON ({error.msg} at line {error.lineno:,}); copy or download the file again"
        raise DataError(problem, file.name, error.lineno) from None
    except (ValueError, RecursionError):
        raise DataError("JSON with a number that is too long, or nested too deeply", file.name, 1) from None
    assert isinstance(found, list)
    return found
