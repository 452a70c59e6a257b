"""Turn the lines of a JSON Lines file into examples, or into errors with the way to fix the line."""

import json
from collections.abc import Sequence
from dataclasses import replace

from calque.config import Json, JsonObject
from calque.data.files.columns import Columns
from calque.data.files.formats import RENAME, Example, Parsed, example_of, listed
from calque.data.files.lines import DROP, LIMIT, TextFile
from calque.errors import DataError, did_you_mean
from calque.text.graph.graph import graph_from, json_type, write_graph
from calque.text.identity import is_blank


class _TwiceError(ValueError):
    """A key that one object has twice."""


def read_jsonl(file: TextFile, columns: Columns, limit: int = LIMIT) -> Parsed:
    """Yield the examples of JSON objects, one per line; the target is a text or a list of right answers.

    The source may be a graph, which is rewritten in one form; its keys may also be next to the target's.
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

    def unique(pairs: Sequence[tuple[str, Json]]) -> dict[str, Json]:
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
        return DataError(f'the key "{error}" occurs twice; keep one{DROP}', name, number)
    except json.JSONDecodeError as error:
        advice = "one object per line is needed: {" + ", ".join(f'"{key}": "…"' for key in columns.names) + "}"
        return DataError(f"not JSON ({error.msg}); {advice}", name, number, len(line[: error.pos].encode()))
    except (ValueError, RecursionError):
        return DataError(f"JSON with a number that is too long, or nested too deeply; shorten it{DROP}", name, number)
    return example_of_record(record, columns, name, number)


def example_of_record(record: Json, columns: Columns, name: str, number: int) -> Example | DataError:
    """Return the example of a JSON object, whose line or number is `number`."""
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


def _example(record: JsonObject, columns: Columns, name: str, number: int) -> Example | DataError:
    cells: list[str] = []
    target = record[columns.target]
    for key in columns.inputs:
        cell = _input(record[key], key == columns.tag)
        if isinstance(cell, DataError):
            return DataError(f'"{key}"{cell.message}', name, number)
        cells.append(cell)
    answers = target if isinstance(target, list) else [target]
    targets = [answer for answer in answers if isinstance(answer, str)]
    if len(targets) < len(answers) or not answers:
        wrong = next((answer for answer in answers if not isinstance(answer, str)), target)
        what = json_type(wrong)
        advice = "it must be a text in quotation marks, or a list of at least one text"
        if isinstance(target, dict) and isinstance(target.get("text"), list):
            advice = f"""extract its texts with: jq -c '."{columns.target}" |= .text' FILE > OUT"""
        return DataError(f'"{columns.target}" is or contains {what}; {advice}', name, number)
    if any(_is_broken(text) for text in (*cells, *targets)):
        return DataError(f"the text contains half a surrogate pair or a NUL; remove it{DROP}", name, number)
    first = example_of([*cells, targets[0]], columns, name, number)
    return replace(first, targets=tuple(targets)) if isinstance(first, Example) else first


def _nested(record: JsonObject) -> str:
    """Return how to flatten records whose texts are in a nested object, or nothing."""
    for key, value in record.items():
        if not isinstance(value, dict):
            continue
        texts = [inner for inner, text in value.items() if isinstance(text, str)]
        if len(texts) > 1:
            pair = f"""{{source: ."{texts[0]}", target: ."{texts[1]}"}}"""
            return f"""Flatten the objects with: jq -c '."{key}" | {pair}' FILE > OUT"""
        if isinstance(value.get("text"), list):
            return f"""Flatten the objects with: jq -c '."{key}" |= .text' FILE > OUT; then name them with: {RENAME}"""
    return ""


def _input(value: Json, is_tag: bool) -> str | DataError:
    """Return the text of a JSON value on the source side, a graph as one line of JSON, or its error."""
    if isinstance(value, dict | list) and not is_tag:
        try:
            return write_graph(graph_from(value))
        except DataError as error:
            return DataError(f": {error.message}")
    if not isinstance(value, str):
        return DataError(
            f" is {json_type(value)}; it must be a text in quotation marks{'' if is_tag else ' or a graph'}"
        )
    return value


def _is_broken(text: str) -> bool:
    try:
        return b"\0" in text.encode("utf-8")
    except UnicodeEncodeError:
        return True
