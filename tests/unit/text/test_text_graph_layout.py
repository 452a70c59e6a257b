"""Layouts: which tokens and edges a source becomes, checked by reading the graph back."""

import json
from typing import Any

import pytest
from graph_texts import GRAPHS, LINES, SENTENCES, pair

from calque.errors import DataError
from calque.ids import PAD
from calque.text.graph.graph import graph_from, linearised
from calque.text.graph.layout import EDGE, NEXT, SourceError
from calque.text.pair import TextPair
from calque.text.source import SourceIds


def node_texts(text: TextPair, source: SourceIds) -> dict[int, str]:
    """Return by the position of its first token the text of each node, following the edges to next tokens."""
    assert source.edges is not None
    goes_on = {end for start, end, kind in source.edges if kind == NEXT and end == start + 1}
    nodes: dict[int, list[int]] = {}
    for place, token in enumerate(source.tokens):
        nodes.setdefault(place if place not in goes_on else max(nodes), []).append(token)
    return {place: text.source.decode(tokens) for place, tokens in nodes.items()}


def triples(text: TextPair, source: SourceIds) -> set[tuple[str, str, str]]:
    """Return the triples of a Levi graph: whatever leads into a node without more than one way in and out is read."""
    names = node_texts(text, source)
    assert source.edges is not None
    between = [edge for edge in source.edges if edge[2] == EDGE]
    assert len(between) % 2 == 0
    halves = zip(between[::2], between[1::2], strict=True)
    found = set()
    for (start, label, _), (again, end, _) in halves:
        assert label == again
        found.add((names[start], names[label], names[end]))
    return found


def of(text: str) -> set[tuple[str, str, str]]:
    graph = graph_from(json.loads(text))
    return {(graph.nodes[start], label, graph.nodes[end]) for start, end, label in graph.edges}


@pytest.mark.parametrize("tokenizer", ["word", "character", "sentencepiece", "byte"])
def test_a_levi_graph_holds_the_triples_and_all_nodes(tokenizer: str) -> None:
    text = pair({"kind": "graph"}, GRAPHS, tokenizer=tokenizer)
    assert text.layout.num_edge_kinds == 2
    assert text.extras == ("edges",)
    for given, source in zip(GRAPHS, text.read_sources(GRAPHS), strict=True):
        graph = graph_from(json.loads(given))
        assert triples(text, source) == of(given)
        assert sorted(node_texts(text, source).values()) == sorted([*graph.nodes, *(edge[2] for edge in graph.edges)])
        assert text.encode_source([given]) == [source.tokens]


def test_several_tokens_of_a_node_are_chained() -> None:
    (source,) = pair({"kind": "graph"}, GRAPHS).read_sources(GRAPHS[:1])
    # Mira Sol, a lute, fog; plays well, is of, is
    assert len(source.tokens) == 10
    chained = [(0, 1, NEXT), (2, 3, NEXT), (5, 6, NEXT), (7, 8, NEXT)]
    levi = [(0, 5), (5, 2), (2, 7), (7, 0), (2, 9), (9, 2)]
    assert source.edges == [*chained, *((start, end, EDGE) for start, end in levi)]


def test_without_levi_frequent_labels_are_kinds_and_the_others_share_one() -> None:
    text = pair({"kind": "graph", "levi": False, "labels": 2}, GRAPHS)
    # "is" stands on three edges, "plays well" on two; the rest is rare.
    assert text.layout.num_edge_kinds == 4
    kinds = {"is": 3, "plays well": 4}
    for given, source in zip(GRAPHS, text.read_sources(GRAPHS), strict=True):
        names = node_texts(text, source)
        assert sorted(names.values()) == sorted(graph_from(json.loads(given)).nodes)
        assert source.edges is not None
        found = {(names[start], kind, names[end]) for start, end, kind in source.edges if kind != NEXT}
        assert found == {(start, kinds.get(label, EDGE), end) for start, label, end in of(given)}
    (unseen,) = text.read_sources(['[["fog", "hides", "Tarn"]]'])
    assert unseen.edges == [(0, 1, EDGE)]


def test_labels_do_not_depend_on_the_order_of_the_data() -> None:
    layout = {"kind": "graph", "levi": False}
    assert pair(layout, GRAPHS).files() == pair(layout, GRAPHS[::-1]).files()


def test_labels_are_normalised_as_the_source_is() -> None:
    text = pair({"kind": "graph", "levi": False}, ['[["a", "café", "b"]]'])
    one, other = text.read_sources(['[["a", "caf\u00e9", "b"]]', '[["a", "cafe\u0301", "b"]]'])
    assert one.edges == other.edges == [(0, 1, 3)]


@pytest.mark.parametrize("levi", [True, False])
def test_dependencies_have_their_words_in_a_row_too(levi: bool) -> None:
    text = pair({"kind": "dependencies", "levi": levi}, SENTENCES)
    source, alone = text.read_sources(SENTENCES)
    follows = text.layout.num_edge_kinds
    assert follows == (3 if levi else 5)
    assert source.edges is not None
    # small 0, grey 1 boats 2, drift 3; with Levi amod 4, nsubj 5
    assert [edge[:2] for edge in source.edges if edge[2] == follows] == [(0, 1), (1, 3)]
    assert [edge[:2] for edge in source.edges if edge[2] == NEXT] == [(1, 2)]
    between = [edge[:2] for edge in source.edges if edge[2] not in (NEXT, follows)]
    assert between == ([(1, 4), (4, 0), (3, 5), (5, 1)] if levi else [(1, 0), (3, 1)])
    assert (len(alone.tokens), alone.edges) == (1, [])


def test_neighbours_and_ngrams_join_tokens_of_a_line() -> None:
    text = pair({"kind": "neighbours"}, LINES)
    assert [source.edges for source in text.read_sources(LINES)] == [[(0, 1, NEXT), (1, 2, NEXT), (2, 3, NEXT)], []]
    assert text.layout.num_edge_kinds == 1
    wide = pair({"kind": "ngrams", "n": 3}, LINES)
    first, second = wide.read_sources(LINES)
    assert first.edges is not None
    assert sorted(first.edges) == [(0, 1, 2), (0, 2, 3), (1, 2, 2), (1, 3, 3), (2, 3, 2)]
    assert (wide.layout.num_edge_kinds, second.edges) == (3, [])
    plain = pair({"kind": "line"}, LINES)
    assert plain.encode_source(LINES) == text.encode_source(LINES) == wide.encode_source(LINES)


def test_a_linearised_graph_is_a_line() -> None:
    text = pair({"kind": "linearised"}, GRAPHS)
    lines = [linearised(graph_from(json.loads(given))) for given in GRAPHS]
    assert text.read_sources(GRAPHS) == [SourceIds(text.source.encode(line)) for line in lines]
    assert (text.extras, text.layout.num_edge_kinds) == ((), 0)


def test_copying_points_from_every_token_to_what_it_says() -> None:
    text = pair({"kind": "graph"}, GRAPHS, copying=True)
    assert set(text.extras) == {"copy_ids", "edges"}
    size = text.target.vocab_size
    for source in text.read_sources(GRAPHS):
        words = [word for part in node_texts(text, source).values() for word in part.split()]
        assert source.copy_ids is not None
        assert len(source.copy_ids) == len(source.tokens) == len(words)
        copied = [
            source.forms[number - size] if number >= size else text.target.decode([number])
            for number in source.copy_ids
        ]
        assert copied == words
        assert len(set(source.forms)) == len(source.forms)
    plain = pair({"kind": "graph"}, GRAPHS)
    assert [source.copy_ids for source in plain.read_sources(GRAPHS)] == [None] * 4


def test_a_word_outside_the_vocabulary_comes_back_as_it_stood() -> None:
    text = pair({"kind": "graph"}, GRAPHS, copying=True)
    (read,) = text.read_pairs(['[["Quoll", "plays well", "Quoll the second"]]'], ["Quoll plays ."])
    source, target = read
    assert source.forms[0] == "Quoll"
    assert source.copy_ids is not None
    assert source.copy_ids[0] == source.copy_ids[1] == target[0] == text.target.vocab_size
    assert text.write_target(target, source) == "Quoll plays ."


def test_what_a_tokenizer_makes_nothing_of_keeps_a_place() -> None:
    text = pair({"kind": "graph"}, GRAPHS, copying=True, normalise="nfkc")

    class Silent:
        vocab_size, kind = text.source.vocab_size, "word"

        def encode_batch(self, texts: list[str]) -> list[list[int]]:
            return [
                [] if given == "fog" else row for given, row in zip(texts, text.source.encode_batch(texts), strict=True)
            ]

        def forms(self, given: str) -> list[str]:
            return [] if given == "fog" else text.source.forms(given)

        def id_of(self, form: str) -> int | None:
            return text.source.id_of(form)

    (source,) = text.layout.read(GRAPHS[:1], Silent(), text.target, text.normalise)  # type: ignore[arg-type]
    (usual,) = text.read_sources(GRAPHS[:1])
    assert source.edges == usual.edges
    assert source.copy_ids is not None
    assert (len(source.tokens), source.copy_ids[4]) == (10, PAD)


def test_the_tokenizer_learns_from_texts_and_not_from_json() -> None:
    text = pair({"kind": "graph"}, GRAPHS, tokenizer="character")
    known = set(text.source.pieces(range(4, text.source.vocab_size)))
    assert not known & set('[]{}",:')
    assert {"M", "Q", "1"} <= known


@pytest.mark.parametrize("layout", [{"kind": "graph"}, {"kind": "linearised"}, {"kind": "dependencies"}])
def test_a_bad_source_is_told_by_its_number(layout: dict[str, Any]) -> None:
    given = SENTENCES if layout["kind"] == "dependencies" else GRAPHS
    text = pair(layout, given)
    with pytest.raises(SourceError, match="This model reads graphs") as caught:
        text.read_sources([given[0], given[1], "good morning", given[0]])
    assert caught.value.number == 2
    assert isinstance(caught.value, DataError)


def test_the_other_form_is_refused_with_the_layout_for_it() -> None:
    with pytest.raises(DataError, match=r"text\.layout\.kind is graph; set it to dependencies"):
        pair({"kind": "graph"}, GRAPHS).read_sources(SENTENCES)
    with pytest.raises(DataError, match=r"text\.layout\.kind is dependencies; set it to graph"):
        pair({"kind": "dependencies"}, SENTENCES).read_sources(GRAPHS)


def test_no_label_at_all_is_an_error_that_names_the_setting() -> None:
    with pytest.raises(DataError, match=r"text\.layout\.levi = true"):
        pair({"kind": "graph", "levi": False}, ['{"nodes": ["a"], "edges": []}'])
