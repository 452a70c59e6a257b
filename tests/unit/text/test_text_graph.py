"""Graphs in JSON: three forms read as one, every mistake named with its place and mend, written back canonically."""

import json
import random
from typing import Any

import pytest

from calque.errors import DataError
from calque.text.graph.graph import Graph, form_of, graph_from, linearised, read_graph, readable, write_graph

NODES = {"nodes": ["Mira Sol", "a lute", "Oldhaven"], "edges": [[0, 1, "plays"], [0, 2, "lives in"], [1, 1, "is"]]}
TRIPLES = [["Mira Sol", "plays", "a lute"], ["Mira Sol", "lives in", "Oldhaven"], ["a lute", "is", "a lute"]]
SENTENCE = {"tokens": ["small", "boats", "drift"], "heads": [2, 3, 0], "labels": ["amod", "nsubj", "root"]}


def test_nodes_and_edges() -> None:
    graph = graph_from(NODES)
    assert graph == Graph(tuple(NODES["nodes"]), ((0, 1, "plays"), (0, 2, "lives in"), (1, 1, "is")))
    assert graph_from({"nodes": ["alone"], "edges": [], "note": {"kept": False}}).edges == ()


def test_triples_are_the_graph_in_which_equal_ends_are_one_node() -> None:
    assert graph_from(TRIPLES) == graph_from(NODES)


def test_dependencies_point_from_heads_to_dependents() -> None:
    graph = graph_from(SENTENCE)
    assert graph == Graph(("small", "boats", "drift"), ((1, 0, "amod"), (2, 1, "nsubj")), is_sentence=True)


@pytest.mark.parametrize("value", [NODES, TRIPLES, SENTENCE], ids=["nodes", "triples", "sentence"])
def test_what_is_written_is_read_again(value: Any) -> None:
    graph = graph_from(value)
    text = write_graph(graph)
    assert read_graph(text) == graph
    assert write_graph(read_graph(text)) == text
    assert "\n" not in text


def test_equal_graphs_are_written_alike() -> None:
    spaced = json.dumps({"edges": NODES["edges"], "nodes": NODES["nodes"]}, indent=2)
    assert len({write_graph(graph_from(NODES)), write_graph(graph_from(TRIPLES)), write_graph(read_graph(spaced))}) == 1


def test_no_text_holds_a_tab_or_a_line_break() -> None:
    graph = graph_from({"nodes": ["a\tb", "c\r\nd"], "edges": [[0, 1, "e\nf"]]})
    assert graph == Graph(("a b", "c d"), ((0, 1, "e f"),))


def test_linearised() -> None:
    lonely = {**NODES, "nodes": [*NODES["nodes"], "fog"]}
    expected = "Mira Sol | plays | a lute ; Mira Sol | lives in | Oldhaven ; a lute | is | a lute ; fog"
    assert linearised(graph_from(lonely)) == expected
    assert linearised(graph_from(SENTENCE)) == "small boats drift"
    assert readable(json.dumps(TRIPLES)) == linearised(graph_from(TRIPLES))


@pytest.mark.parametrize(
    ("text", "form"),
    [
        (json.dumps(NODES), "graph"),
        ("  " + json.dumps(TRIPLES), "graph"),
        (json.dumps(SENTENCE), "dependencies"),
        ("good morning", "line"),
        ("", "line"),
        ("[music] hello", "line"),
        ("{brace", "line"),
        ('{"nodes": ["a"], "edges": [[0, 1, "x"]]}', "line"),
        ("[]", "line"),
        ("[" * 100_000, "line"),
    ],
)
def test_the_form_of_a_source(text: str, form: str) -> None:
    assert form_of(text) == form
    if form == "line":
        assert readable(text) == text


def nodes(*edges: Any) -> dict[str, Any]:
    return {"nodes": ["a", "b"], "edges": list(edges)}


BAD: dict[str, tuple[Any, str]] = {
    "number": (3, "a number instead of a graph"),
    "null": (None, "null instead of a graph"),
    "text": ("a graph", "a text instead of a graph"),
    "no keys": ({}, 'no "nodes"; the keys are none'),
    "other keys": ({"vertices": [], "edges": []}, 'no "nodes"; the keys are "vertices", "edges"'),
    "no edges": ({"nodes": ["a"]}, 'no "edges"'),
    "no heads": ({"tokens": ["a"], "labels": ["root"]}, 'no "heads"'),
    "no nodes": ({"nodes": [], "edges": []}, '"nodes" is empty; a graph needs at least one'),
    "nodes no list": ({"nodes": "ab", "edges": []}, '"nodes" is a text; it must be a list'),
    "edges no list": ({"nodes": ["a"], "edges": {"0": 1}}, '"edges" is an object; it must be a list'),
    "node a number": ({"nodes": ["a", 7], "edges": []}, "nodes[1] is a number; it must be a text in quotation marks"),
    "node null": ({"nodes": [None], "edges": []}, "nodes[0] is null"),
    "node nested": ({"nodes": ["a", [["b"]]], "edges": []}, "nodes[1] is a list"),
    "node blank": ({"nodes": ["a", " \t"], "edges": []}, "nodes[1] is empty"),
    "node with NUL": ({"nodes": ["a\0"], "edges": []}, "nodes[0] contains half a surrogate pair or a NUL"),
    "node with surrogate": ({"nodes": ["\ud800"], "edges": []}, "nodes[0] contains half"),
    "edge no list": (nodes("0 1"), 'edges[0] is a text; an edge is [from, to, "label"]'),
    "edge of two": (nodes([0, 1, "x"], [0, 1]), "edges[1] is 2 values"),
    "edge of four": (nodes([0, 1, "x", "y"]), "edges[0] is 4 values"),
    "too high": (nodes([0, 2, "x"]), "edges[0][1] is node 2, which does not exist; there are nodes 0 to 1"),
    "negative": (nodes([-1, 0, "x"]), "edges[0][0] is node -1, which does not exist"),
    "from true": (nodes([True, 0, "x"]), "edges[0][0] is true; it must be the number of a node, from 0 to 1"),
    "from 1.0": (nodes([1.0, 0, "x"]), "edges[0][0] is 1.0; it must be"),
    "to a text": (nodes([0, "b", "x"]), 'edges[0][1] is "b"; it must be'),
    "to null": (nodes([0, None, "x"]), "edges[0][1] is null"),
    "label null": (nodes([0, 1, None]), "edges[0][2] is null; it must be a text in quotation marks"),
    "label a number": (nodes([0, 1, 5]), "edges[0][2] is a number"),
    "label nested": (nodes([0, 1, {"is": "x"}]), "edges[0][2] is an object"),
    "label blank": (nodes([0, 1, ""]), "edges[0][2] is empty"),
    "no triples": ([], "needs at least one"),
    "triple of two": ([["a", "p"]], "triple 0 is 2 values"),
    "triple a text": (["a p b"], "triple 0 is a text"),
    "subject a number": ([["a", "p", "b"], [1, "p", "b"]], "the subject of triple 1 is a number"),
    "predicate null": ([["a", None, "b"]], "the predicate of triple 0 is null"),
    "object blank": ([["a", "p", " "]], "the object of triple 0 is empty"),
    "heads too few": ({**SENTENCE, "heads": [2, 3]}, '3 "tokens", 2 "heads" and 3 "labels"'),
    "head too high": ({**SENTENCE, "heads": [2, 4, 0]}, "heads[1] is 4; heads count tokens from 1 to 3"),
    "head true": ({**SENTENCE, "heads": [2, True, 0]}, "heads[1] is true"),
    "head of itself": ({**SENTENCE, "heads": [2, 2, 0]}, "from token 2 back to itself; they must form a tree"),
    "circle": ({**SENTENCE, "heads": [2, 3, 1]}, "back to itself"),
    "token a number": ({**SENTENCE, "tokens": ["a", 1, "b"]}, "tokens[1] is a number"),
    "no tokens": ({"tokens": [], "heads": [], "labels": []}, '"tokens" is empty'),
}


@pytest.mark.parametrize("name", BAD)
def test_a_mistake_is_named_with_its_place(name: str) -> None:
    value, said = BAD[name]
    with pytest.raises(DataError) as caught:
        graph_from(value)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 300
    # The same as text, which is how a pipe carries it.
    with pytest.raises(DataError) as again:
        read_graph(json.dumps(value))
    assert said in str(again.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("good morning", "not JSON (Expecting value): good morning. This model reads graphs"),
        ('{"nodes": ["a"]', "not JSON"),
        ("[" * 100_000, "nested too deep"),
        ('{"nodes": ["a"], "edges": [[' + "9" * 5_000 + ', 0, "x"]]}', "number that is too long"),
    ],
)
def test_what_is_no_json_is_said_to_be_none(text: str, said: str) -> None:
    with pytest.raises(DataError) as caught:
        read_graph(text)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 250


def test_any_junk_is_a_graph_or_a_data_error() -> None:
    """Change valid graphs at random, value by value."""
    draws = random.Random(0)
    junk = [None, True, -1, 0, 3, 1.5, "", " ", "x", [], {}, [[]], [0, 1, "x"], {"nodes": []}, float("nan"), 10**30]

    def changed(value: Any) -> Any:
        if draws.random() < 0.08:
            return draws.choice(junk)
        if isinstance(value, dict):
            return {key: changed(part) for key, part in value.items() if draws.random() > 0.03}
        return [changed(part) for part in value] if isinstance(value, list) else value

    outcomes = set()
    for _ in range(2_000):
        value = changed(draws.choice([NODES, TRIPLES, SENTENCE]))
        try:
            graph = graph_from(value)
        except DataError as error:
            outcomes.add(str(error).split(" ")[0])
            continue
        assert all(isinstance(node, str) and node.strip() for node in graph.nodes)
        assert all(0 <= end < len(graph.nodes) for edge in graph.edges for end in edge[:2])
        assert read_graph(write_graph(graph)) == graph
    assert len(outcomes) > 10
