"""Recognise the form of a data file by its content, and choose the function that reads it."""

import contextlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from calque.data.files.columns import Columns
from calque.data.files.foreign import foreign_form, separated_form
from calque.data.files.formats import Parsed, read_csv, read_tsv, tsv_header
from calque.data.files.json_lines import read_jsonl
from calque.data.files.json_list import is_json_list, names_of_first, read_json_list
from calque.data.files.lexicon import is_lexicon, read_lexicon
from calque.data.files.lines import TextFile, without_drop
from calque.data.files.questions import KEYS, is_babi, is_squad, read_babi, read_squad
from calque.data.files.quoting import unquoted
from calque.errors import DataError
from calque.text.identity import is_blank

HEAD_LINES = 20


def detect(file: TextFile, columns: Columns, limit: int) -> tuple[str, Callable[[TextFile, Columns, int], Parsed]]:
    """Return the format of the file and its reader; the first lines have precedence over the name."""
    if is_squad(file.start()):
        return _questions("JSON in SQuAD's form", file, columns), read_squad
    if is_json_list(file.start()):
        return "a JSON list", read_json_list
    head = _head(file, limit)
    first = head[0]
    suffixes = Path(file.name).suffixes
    if _is_object(first):
        return "JSONL", read_jsonl
    refuse_foreign(file, head)
    if is_babi(head):
        return _questions("stories of bAbI", file, columns), read_babi
    if set(columns.names) <= {cell.strip('"') for cell in first.split(",")}:
        return "CSV", read_csv
    if "\t" in first or (".csv" not in suffixes and any("\t" in line for line in head)):
        cells = first.split("\t")
        header = tsv_header(list(map(unquoted, cells)) if columns.quoting == "csv" else cells, columns, file.name, 1)
        return "TSV" + " with a header" * bool(header) + ", quoted" * (columns.quoting == "csv"), read_tsv
    if first.startswith("["):
        raise DataError("a JSON list of values that are not objects; write one object per pair", file.name, 1)
    if first.startswith("{"):
        return "JSONL", read_jsonl
    if is_lexicon(head):
        return "a pronunciation dictionary", read_lexicon
    separated = separated_form(head, columns.names)
    if ".csv" in suffixes and (separated is None or "," in first):
        return "CSV", read_csv
    if separated:
        raise DataError(f"the file is {separated}", file.name, 1)
    raise DataError("there is only one column; give two files, or put a tab between source and target", file.name, 1)


def names_in(file: TextFile, limit: int) -> set[str]:
    """Return the names of columns or keys that the first line of a file contains."""
    if is_squad(file.start()):
        return set(KEYS)
    if is_json_list(file.start()):
        return names_of_first(file)
    first, *rest = _head(file, limit)
    if is_babi([first, *rest]):
        return set(KEYS)
    if _is_object(first):
        with contextlib.suppress(ValueError, RecursionError):
            return set(json.loads(first))
    return {cell.strip('"') for separator in "\t," for cell in first.split(separator)}


def _questions(form: str, file: TextFile, columns: Columns) -> str:
    """Return the form of a file of questions; DataError if the columns are not among those of such a file."""
    if not set(columns.names) <= set(KEYS):
        advice = "use --task question-answering, or name some of them with --set data.columns.source=NAME"
        raise DataError(f"{form}, with questions, contexts and answers; {advice}", file.name, 1)
    return form


def refuse_foreign(file: TextFile, head: Sequence[str]) -> None:
    form = foreign_form(head)
    if form:
        raise DataError(f"the file is {form}", file.name, 1)


def _head(file: TextFile, limit: int) -> list[str]:
    """Return the first lines that are neither empty nor bad; at least one."""
    first_bad: DataError | None = None
    head = []
    for line in file.lines(limit):
        if isinstance(line, DataError):
            first_bad = first_bad or line
        elif not is_blank(line):
            head.append(line)
        if len(head) == HEAD_LINES:
            break
    if not head:
        raise (
            without_drop(first_bad)
            if first_bad
            else DataError("the file has only empty lines; one pair per line is needed", file.name)
        )
    return head


def _is_object(line: str) -> bool:
    if not line.lstrip().startswith("{"):
        return False
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        # Broken JSON is still JSON, unless a tab shows that it is text in braces.
        return line.lstrip().startswith('{"') and "\t" not in line
