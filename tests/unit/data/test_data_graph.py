"""Graphs from the file to the batch: read in every form, bad lines named, counted as text, stored and padded."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from calque.data.check.dataset import check_dataset
from calque.data.check.fix import fix_dataset
from calque.data.collate import collate, collate_pairs
from calque.data.files.readers import Columns, Dataset, open_dataset
from calque.data.split import is_held_out
from calque.data.store.token_store import TokenStore, build_store
from calque.data.survey import survey
from calque.errors import DataError
from calque.text.graph.graph import graph_from, linearised, read_graph, write_graph
from calque.text.pair import TextConfig, TextPair, train_text
from calque.text.source import Edge

GRAPH = {"nodes": ["Odo Birk", "a kite"], "edges": [[0, 1, "flies"]]}
TRIPLES = [["Odo Birk", "flies", "a kite"]]
SENTENCE = {"tokens": ["kites", "fly"], "heads": [2, 0], "labels": ["nsubj", "root"]}


def written(tmp_path: Path, *records: Any, columns: Columns | None = None) -> Dataset:
    path = tmp_path / "graphs.jsonl"
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records), encoding="utf-8")
    return open_dataset([str(path)], columns or Columns())


def test_all_forms_of_one_graph_are_one_source(tmp_path: Path) -> None:
    """As value of the source, beside the target, and as triples: equal texts, so equal hashes and one split."""
    target = {"target": "Odo Birk flies a kite."}
    dataset = written(tmp_path, {"source": GRAPH, **target}, {**GRAPH, **target}, {"source": TRIPLES, **target})
    sources = [example.source for example in dataset.examples()]
    assert sources == [write_graph(graph_from(GRAPH))] * 3
    assert len({is_held_out(source) for source in sources}) == 1
    assert dataset.description == "JSONL"


def test_columns_name_the_key_of_triples_and_of_several_answers(tmp_path: Path) -> None:
    columns = Columns(source="facts", target="texts")
    dataset = written(tmp_path, {"facts": TRIPLES, "texts": ["Odo flies.", "A kite is flown."]}, columns=columns)
    (example,) = dataset.examples()
    assert read_graph(example.source) == graph_from(TRIPLES)
    assert example.targets == ("Odo flies.", "A kite is flown.")


def test_dependencies_and_texts_are_read_too(tmp_path: Path) -> None:
    dataset = written(tmp_path, {"source": SENTENCE, "target": "x"}, {"source": "kites fly", "target": "x"})
    sentence, text = (example.source for example in dataset.examples())
    assert read_graph(sentence).is_sentence
    assert text == "kites fly"


def test_a_source_that_is_there_goes_before_nodes_beside_it(tmp_path: Path) -> None:
    (example,) = written(tmp_path, {"source": "a text", **GRAPH, "target": "x"}).examples()
    assert example.source == "a text"


BAD = {
    "no nodes": ({"source": {"nodes": [], "edges": []}, "target": "x"}, '"source": "nodes" is empty'),
    "a node that is not there": (
        {"source": {"nodes": ["a"], "edges": [[0, 1, "x"]]}, "target": "x"},
        '"source": edges[0][1] is node 1, which does not exist',
    ),
    "label no text": ({"nodes": ["a"], "edges": [[0, 0, 3]], "target": "x"}, '"source": edges[0][2] is a number'),
    "triples": ({"source": [["a", "b"]], "target": "x"}, '"source": triple 0 is 2 values'),
    "no graph": ({"source": {"text": "a"}, "target": "x"}, '"source": no "nodes"'),
    "a number": ({"source": 3, "target": "x"}, '"source" is a number; it must be a text in quotation marks or a graph'),
    "target": ({"source": GRAPH, "target": 3}, '"target" is or contains a number'),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_graph_is_a_bad_line(name: str, tmp_path: Path) -> None:
    """Named with file, line and field when reading; counted and left out by a check."""
    record, said = BAD[name]
    good = {"source": GRAPH, "target": "Odo flies."}
    dataset = written(tmp_path, good, record, good)
    with pytest.raises(DataError) as caught:
        list(dataset.examples())
    assert caught.value.line == 2
    assert said in str(caught.value)
    assert "graphs.jsonl:2: " in str(caught.value)
    assert str(caught.value).count("\n") < 6
    report = check_dataset(dataset)
    assert (report.bad_lines, report.usable, report.graphs) == (1, 2, 2)
    assert said in report.first_bad[0]


def test_nesting_without_end_is_a_bad_line(tmp_path: Path) -> None:
    path = tmp_path / "deep.jsonl"
    deep = '{"source": {"nodes": ' + "[" * 100_000 + "]" * 100_000 + ', "edges": []}, "target": "x"}'
    path.write_text(json.dumps({"source": GRAPH, "target": "y"}) + "\n" + deep + "\n")
    with pytest.raises(DataError, match=r":2: .*nested too deep"):
        list(open_dataset([str(path)], Columns()).examples())


def records() -> list[dict[str, Any]]:
    """Return graphs of Chinese nodes with labels in Latin letters, two of them alike."""
    nodes = ["猫在河边看月亮", "月亮照着老人和狗"]
    first = {"source": {"nodes": nodes, "edges": [[0, 1, "sees"]]}, "target": "猫看见月亮。"}
    second = {"source": {"nodes": nodes, "edges": [[1, 0, "lights"]]}, "target": "月亮照着猫，也照着河边的老人。"}
    return [first, second, first]


def test_a_check_counts_what_the_graph_says(tmp_path: Path) -> None:
    report = check_dataset(written(tmp_path, *records()))
    line = linearised(graph_from(records()[0]["source"]))
    assert report.graphs == report.usable == 3
    assert (report.source.longest, report.source.scripts) == (
        len("月亮照着老人和狗 | lights | 猫在河边看月亮"),
        {"Han": 3},
    )
    assert report.source.median == len(line)
    assert report.duplicate_pairs == 1
    assert report.conflicting_sources == 0
    assert report.odd_characters == {}
    assert any("3 sources are graphs" in shown for shown in report.lines())
    assert not [finding for finding in report.findings if finding.kind == "mixed_forms"]


def test_a_check_warns_of_graphs_among_texts(tmp_path: Path) -> None:
    report = check_dataset(written(tmp_path, *records(), {"source": "plain", "target": "text"}))
    (finding,) = [finding for finding in report.findings if finding.kind == "mixed_forms"]
    assert (finding.level, finding.count) == ("warning", 3)
    plain = check_dataset(written(tmp_path, {"source": "plain", "target": "text"}))
    assert plain.graphs == 0
    assert not any("are graphs" in shown for shown in plain.lines())


def test_a_survey_sees_script_and_alphabet_of_the_texts_and_keeps_the_graphs(tmp_path: Path) -> None:
    facts = survey(written(tmp_path, *records()), False, 1)
    assert facts.source.script == "Han"
    letters = set("".join(linearised(graph_from(record["source"])) for record in records()))
    assert facts.source.alphabet == len(letters)
    assert [read_graph(text) for text in facts.source.sample] == [graph_from(record["source"]) for record in records()]


def test_a_fixed_copy_holds_the_same_graphs(tmp_path: Path) -> None:
    dataset = written(tmp_path, *records())
    counts = fix_dataset(dataset, tmp_path / "fixed.tsv")
    assert (counts.kept, counts.duplicates) == (2, 1)
    copy = open_dataset([str(tmp_path / "fixed.tsv")], Columns())
    assert copy.description == "TSV"
    assert [example.source for example in copy.examples()] == [example.source for example in dataset.examples()][:2]


PAIRS = [
    (write_graph(graph_from(value)), target)
    for value, target in (
        (GRAPH, "Odo Birk flies a kite ."),
        ([["a kite", "is", "red"], ["red", "is", "a colour"]], "a red kite ."),
        ({"nodes": ["fog"], "edges": []}, "fog ."),
    )
]


def graph_text(copying: bool = False, **layout: Any) -> TextPair:
    config = {
        "layout": {"kind": "graph", **layout},
        "source": {"kind": "word"},
        "target": {"kind": "word"},
        "copying": copying,
    }

    return train_text(
        TextConfig.model_validate(config),
        lambda: iter([source for source, _ in PAIRS]),
        lambda: iter([target for _, target in PAIRS]),
    )


@pytest.mark.parametrize("copying", [False, True])
def test_a_store_keeps_the_edges(copying: bool, tmp_path: Path) -> None:
    """What is written, mapped, gathered and padded equals what the text side read."""
    text = graph_text(copying)
    build_store(tmp_path / "store", PAIRS, text, max_length=32)
    store = TokenStore.open(tmp_path / "store")
    assert set(store.extras) == ({"copy_ids", "edges"} if copying else {"edges"})
    order = [2, 0, 1, 0]
    stored = collate(store, np.array(order))
    read = text.read_pairs(*zip(*[PAIRS[number] for number in order], strict=True))  # type: ignore[arg-type]
    direct = collate_pairs([source for source, _ in read], [ids for _, ids in read], text.target.vocab_size)
    assert torch.equal(stored.source.tokens, direct.source.tokens)
    for row, (source, _) in enumerate(read):
        assert stored.source.edges is not None
        assert source.edges is not None
        padding: list[Edge] = [(0, 0, 0)] * (stored.source.edges.shape[1] - len(source.edges))
        assert [tuple(edge) for edge in stored.source.edges[row].tolist()] == [*source.edges, *padding]
    assert (stored.source.copy_ids is None) != copying


def test_the_numbers_of_a_large_graph_fit_the_store(tmp_path: Path) -> None:
    """Positions and kinds beyond what the vocabulary alone would need."""
    size = 70_000
    nodes = {"nodes": ["fog"] * size, "edges": [[size - 1, 0, "is"], [0, size - 2, "is"]]}
    text = graph_text(levi=False)
    pairs = [(write_graph(graph_from(nodes)), "fog ."), *PAIRS]
    build_store(tmp_path / "store", pairs, text, max_length=size + 1)
    stored = collate(TokenStore.open(tmp_path / "store"), np.array([0]))
    assert stored.source.edges is not None
    assert stored.source.edges[0].tolist() == [[size - 1, 0, 3], [0, size - 2, 3]]


def test_a_graph_that_is_too_long_is_left_out_whole(tmp_path: Path) -> None:
    store = build_store(tmp_path / "store", PAIRS, graph_text(), max_length=7)
    assert (store.record.num_too_long, len(store)) == (1, 2)
