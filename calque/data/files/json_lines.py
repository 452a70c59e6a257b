"""Turn the lines of a JSON Lines file into examples; what is wrong with a line is named with the way to fix it."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from calque.data.files.columns import Columns
from calque.data.files.formats import RENAME, Example, Parsed, example_of, listed
from calque.data.files.lines import DROP, LIMIT, TextFile
from calque.errors import DataError, did_you_mean
from calque.text.graph.graph import graph_from, json_type, write_graph
from calque.text.identity import is_blank

_SQUAD_TO_LINES = (
    "jq -c '.data[].paragraphs[] | .context as $c | .qas[] | {question, context: $c, target:"
    """ ([.answers[]?.text] | if . == [] then [""] else . end)}' FILE > OUT"""
)


class _TwiceError(ValueError):
    """A key that one object has twice."""


def read_jsonl(file: TextFile, columns: Columns, limit: int = LIMIT) -> Parsed:
    """Yield the examples of JSON objects, one a line; the target is a text or a list of several right answers.

    The source may be a graph, which is rewritten in one form; its keys may also be beside the target.
    """
    for number, line in enumerate(file.lines(limit), start=1):
        if isinstance(line, DataError):
            yield line
        elif is_blank(line):
            yield Example("", ("",), number)
        else:
            yield _json_example(line, columns, file.name, number)


def _json_example(line: str, columns: Columns, name: str, number: int) -> Example | DataError:
    keys = {*columns.names, "nodes", "edges"}

    def unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [key for key, _ in pairs]
            twice = next((key for key in names if key in keys and names.count(key) > 1), None)
            if twice is not None:
                raise _TwiceError(twice)
        return found

    try:
        record = json.loads(line, object_pairs_hook=unique)
    except _TwiceError as error:
        return DataError(f'the key "{error}" is there twice; keep one{DROP}', name, number)
    except json.JSONDecodeError as error:
        advice = "one object per line is needed: {" + ", ".join(f'"{key}": "…"' for key in columns.names) + "}"
        return DataError(f"not JSON ({error.msg}); {advice}", name, number, len(line[: error.pos].encode()))
    except (ValueError, RecursionError):
        return DataError(f"JSON with a number too long or nested too deep; shorten it{DROP}", name, number)
    if not isinstance(record, dict):
        advice = "put " + " and ".join(f'"{key}"' for key in columns.names) + " in an object"
        return DataError(f"{json_type(record)} instead of an object; {advice}", name, number)
    if isinstance(columns.source, str) and columns.source not in record and {"nodes", "edges"} <= record.keys():
        record = {columns.source: {"nodes": record["nodes"], "edges": record["edges"]}, **record}
    for key in columns.names:
        if key not in record:
            problem = f'no key "{key}"; the keys are {listed(list(record))}.{did_you_mean(key, record)}'
            advice = _nested(record) or f"Name them with: {RENAME}"
            return DataError(f"{problem} {advice}", name, number)
    return _example(record, columns, name, number)


def _example(record: dict[str, Any], columns: Columns, name: str, number: int) -> Example | DataError:
    cells, target = [], record[columns.target]
    for key in columns.inputs:
        cell = _input(record[key], key == columns.tag)
        if isinstance(cell, DataError):
            return DataError(f'"{key}"{cell.message}', name, number)
        cells.append(cell)
    targets = target if isinstance(target, list) else [target]
    wrong = [answer for answer in targets if not isinstance(answer, str)]
    if wrong or not targets:
        what = json_type(wrong[0] if wrong else target)
        advice = "it must be a text in quotes, or a list of at least one"
        if isinstance(target, dict) and isinstance(target.get("text"), list):
            advice = f"""take its texts with: jq -c '."{columns.target}" |= .text' FILE > OUT"""
        return DataError(f'"{columns.target}" is or holds {what}; {advice}', name, number)
    if any(_is_broken(text) for text in (*cells, *targets)):
        return DataError(f"half a surrogate pair or a NUL in the text; remove it{DROP}", name, number)
    first = example_of([*cells, targets[0]], columns, name, number)
    return replace(first, targets=tuple(targets)) if isinstance(first, Example) else first


def _nested(record: dict[str, Any]) -> str:
    """Return how to flatten records whose texts lie in an object within them, or nothing."""
    if isinstance(record.get("data"), list):
        return f"If the file is in SQuAD's form, convert it with: {_SQUAD_TO_LINES}"
    for key, value in record.items():
        if not isinstance(value, dict):
            continue
        texts = [inner for inner, text in value.items() if isinstance(text, str)]
        if len(texts) > 1:
            return (
                f"""Flatten them with: jq -c '."{key}" | {{source: ."{texts[0]}", target: ."{texts[1]}"}}' FILE > OUT"""
            )
        if isinstance(value.get("text"), list):
            return f"""Flatten them with: jq -c '."{key}" |= .text' FILE > OUT; then name them with: {RENAME}"""
    return ""


def _input(value: Any, is_tag: bool) -> str | DataError:
    """Return the text of a JSON value on the source side (a graph as one line of JSON), or what is wrong with it."""
    if isinstance(value, dict | list) and not is_tag:
        try:
            return write_graph(graph_from(value))
        except DataError as error:
            return DataError(f": {error.message}")
    if not isinstance(value, str):
        return DataError(f" is {json_type(value)}; it must be a text in quotes{'' if is_tag else ' or a graph'}")
    return value


def _is_broken(text: str) -> bool:
    try:
        return b"\0" in text.encode("utf-8")
    except UnicodeEncodeError:
        return True
