"""Graphs as sources: read from JSON, with an error for each mistake, and written as a line of JSON or of text.

There are three forms: nodes and edges; triples of subject, predicate and object; and the dependencies of a sentence.
A graph is kept as its JSON text until the model reads it, so it can be hashed and passed on as a line.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from calque.errors import DataError

Form = Literal["line", "graph", "dependencies"]

_BREAK = re.compile(r"\r\n|[\r\n\t]")
_SHOWN = 40
_NODES, _TOKENS = ("nodes", "edges"), ("tokens", "heads", "labels")
EXAMPLE = '{"nodes": ["…", "…"], "edges": [[0, 1, "label"]]}'
TRIPLES = '[["subject", "predicate", "object"], …]'
DEPENDENCIES = '{"tokens": ["…", "…"], "heads": [2, 0], "labels": ["…", "root"]}'


@dataclass(frozen=True)
class Graph:
    """Texts and labelled edges between them; `is_sentence`: the nodes are words, in the order of a sentence."""

    nodes: tuple[str, ...]
    edges: tuple[tuple[int, int, str], ...]
    is_sentence: bool = False


def graph_from(value: object) -> Graph:
    """Return the graph of a JSON value in any of the three forms; DataError with the field and how to fix it."""
    if isinstance(value, list):
        return _from_triples(value)
    if not isinstance(value, dict):
        raise DataError(f"{json_type(value)} instead of a graph; a graph is {EXAMPLE}, or triples: {TRIPLES}")
    if set(_NODES) <= value.keys():
        return _from_nodes(value["nodes"], value["edges"])
    if set(_TOKENS) <= value.keys():
        return _from_dependencies(value["tokens"], value["heads"], value["labels"])
    wanted = _TOKENS if value.keys() & {*_TOKENS} else _NODES
    missing = next(key for key in wanted if key not in value)
    found = ", ".join(f'"{_short(str(key))}"' for key in list(value)[:6]) or "none"
    raise DataError(f'no "{missing}"; the keys are {found}. A graph is {EXAMPLE}, dependencies are {DEPENDENCIES}')


def read_graph(text: str) -> Graph:
    """Return the graph in a line of JSON; DataError for another line."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        problem = f"not JSON ({error.msg})"
    except (ValueError, RecursionError):
        problem = "JSON with a number that is too long, or nested too deeply"
    else:
        return graph_from(value)
    raise DataError(f"{problem}: {_short(text)}. This model reads graphs, one per line: {EXAMPLE}")


def write_graph(graph: Graph) -> str:
    """Return a graph as one line of JSON; equal graphs give equal lines."""
    value: dict[str, object] = {"nodes": graph.nodes, "edges": graph.edges}
    if graph.is_sentence:
        heads, labels = [0] * len(graph.nodes), ["root"] * len(graph.nodes)
        for head, dependent, label in graph.edges:
            heads[dependent], labels[dependent] = head + 1, label
        value = {"tokens": graph.nodes, "heads": heads, "labels": labels}
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def form_of(text: str) -> Form:
    """Return whether a source is a line of text, a graph or a sentence with its dependencies."""
    # The first character identifies nearly every line of text.
    if not text.lstrip().startswith(("{", "[")):
        return "line"
    try:
        return "dependencies" if read_graph(text).is_sentence else "graph"
    except DataError:
        return "line"


def linearised(graph: Graph) -> str:
    """Return a graph as a line of text: `subject | label | object`, with ` ; ` between edges; a sentence as its words.

    A node without edges is a part by itself.
    """
    if graph.is_sentence:
        return " ".join(graph.nodes)
    joined = {node for edge in graph.edges for node in edge[:2]}
    parts = [f"{graph.nodes[start]} | {label} | {graph.nodes[end]}" for start, end, label in graph.edges]
    return " ; ".join([*parts, *(node for number, node in enumerate(graph.nodes) if number not in joined)])


def readable(text: str) -> str:
    """Return a source for a person to read: a graph linearised, other text unchanged."""
    return text if form_of(text) == "line" else linearised(read_graph(text))


def json_type(value: object) -> str:
    """Return a JSON value's type in words."""
    names = {str: "a text", bool: "true or false", int: "a number", float: "a number", dict: "an object"}
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    return names.get(type(value), "null")


def _from_nodes(nodes: object, edges: object) -> Graph:
    texts = _texts("nodes", nodes)
    if not texts:
        raise DataError('"nodes" is empty; a graph needs at least one node')
    return Graph(texts, tuple(_edge(edge, f"edges[{number}]", texts) for number, edge in _items("edges", edges)))


def _edge(edge: object, place: str, nodes: Sequence[str]) -> tuple[int, int, str]:
    if not isinstance(edge, list) or len(edge) != 3:
        what = f"{len(edge)} values" if isinstance(edge, list) else json_type(edge)
        raise DataError(f'{place} is {what}; an edge is [from, to, "label"]')
    for end in (0, 1):
        if type(edge[end]) is not int:
            advice = f"it must be the number of a node, from 0 to {len(nodes) - 1}"
            raise DataError(f"{place}[{end}] is {_value(edge[end])}; {advice}")
        if not 0 <= edge[end] < len(nodes):
            there = f"there are nodes 0 to {len(nodes) - 1}" if len(nodes) > 1 else "there is node 0 only"
            raise DataError(f"{place}[{end}] is node {_value(edge[end])}, which does not exist; {there}")
    return edge[0], edge[1], _text(f"{place}[2]", edge[2])


def _from_triples(triples: list[object]) -> Graph:
    """Return a graph with one node for equal subjects and objects, in order of occurrence."""
    if not triples:
        raise DataError(f"the list of triples is empty; a graph needs at least one: {TRIPLES}")
    numbers: dict[str, int] = {}
    edges = []
    for place, triple in enumerate(triples):
        if not isinstance(triple, list) or len(triple) != 3:
            what = f"{len(triple)} values" if isinstance(triple, list) else json_type(triple)
            raise DataError(f"triple {place} is {what}; a list of triples is {TRIPLES}")
        names = ("subject", "predicate", "object")
        start, label, end = (
            _text(f"the {name} of triple {place}", text) for name, text in zip(names, triple, strict=True)
        )
        edges.append((numbers.setdefault(start, len(numbers)), numbers.setdefault(end, len(numbers)), label))
    return Graph(tuple(numbers), tuple(edges))


def _from_dependencies(tokens: object, heads: object, labels: object) -> Graph:
    """Return a sentence; heads are numbered as in CoNLL-U, from 1, with 0 for the root."""
    texts, names = _texts("tokens", tokens), _texts("labels", labels)
    numbers = [_head(head, number, len(texts)) for number, head in _items("heads", heads)]
    if not texts:
        raise DataError('"tokens" is empty; a sentence needs at least one')
    if not len(texts) == len(names) == len(numbers):
        raise DataError(
            f'{len(texts)} "tokens", {len(numbers)} "heads" and {len(names)} "labels"; each token needs one of each'
        )
    _refuse_circles(numbers)
    pairs = enumerate(zip(numbers, names, strict=True))
    return Graph(texts, tuple((head - 1, number, label) for number, (head, label) in pairs if head), True)


def _head(head: object, number: int, count: int) -> int:
    place = f"heads[{number}]"
    if type(head) is not int or not 0 <= head <= count:
        raise DataError(f"{place} is {_value(head)}; heads count tokens from 1 to {count}, and 0 is the root")
    return head


def _refuse_circles(heads: Sequence[int]) -> None:
    """Raise DataError if a token is its own ancestor; then the heads most likely count from 0."""
    safe = {0}
    for first in range(1, len(heads) + 1):
        path: set[int] = set()
        here = first
        while here not in safe:
            if here in path:
                advice = "they must form a tree: heads count tokens from 1, and 0 is the root"
                raise DataError(f'"heads" lead from token {here} back to itself; {advice}')
            path.add(here)
            here = heads[here - 1]
        safe |= path


def _items(name: str, values: object) -> "enumerate[object]":
    if not isinstance(values, list):
        raise DataError(f'"{name}" is {json_type(values)}; it must be a list')
    return enumerate(values)


def _texts(name: str, values: object) -> tuple[str, ...]:
    return tuple(_text(f"{name}[{number}]", value) for number, value in _items(name, values))


def _text(place: str, value: object) -> str:
    """Return a text on one line; each node and label needs some text."""
    if not isinstance(value, str):
        raise DataError(f"{place} is {json_type(value)}; it must be a text in quotation marks")
    if not value or value.isspace():
        raise DataError(f"{place} is empty; it must contain text")
    if "\0" in value or any("\ud800" <= char <= "\udfff" for char in value):
        raise DataError(f"{place} contains half a surrogate pair or a NUL; remove it")
    return _BREAK.sub(" ", value)


def _value(value: object) -> str:
    return _short(json.dumps(value)) if type(value) in (int, float, str, bool) else json_type(value)


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
