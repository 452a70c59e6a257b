"""Graphs, sentences and lines to lay out, and a text side that has learned them."""

import json
from collections.abc import Iterator
from typing import Any

from calque.text.graph.graph import graph_from, write_graph
from calque.text.pair import TextConfig, TextPair, train_text

GRAPHS = [
    write_graph(graph_from(value))
    for value in (
        {"nodes": ["Mira Sol", "a lute", "fog"], "edges": [[0, 1, "plays well"], [1, 0, "is of"], [1, 1, "is"]]},
        [["Oldhaven", "has harbour", "North Quay"], ["North Quay", "opened in", "1904"]],
        {"nodes": ["Mira Sol"], "edges": []},
        [["Tarn", "is", "a dog"], ["Tarn", "is", "old"], ["a dog", "plays well", "Tarn"]],
    )
]
SENTENCES = [
    json.dumps({"tokens": ["small", "grey boats", "drift"], "heads": [2, 3, 0], "labels": ["amod", "nsubj", "root"]}),
    json.dumps({"tokens": ["wait"], "heads": [0], "labels": ["root"]}),
]
LINES = ["small boats drift by", "fog"]
TARGETS = ["Mira Sol plays a lute .", "Tarn is an old dog .", "small boats drift"]


def pair(layout: dict[str, Any], sources: list[str], **fields: Any) -> TextPair:
    kind = {"kind": fields.pop("tokenizer", "word")}
    values = {"layout": layout, "source": kind, "target": kind, **fields}

    def given() -> Iterator[str]:
        return iter(sources)

    return train_text(TextConfig.model_validate(values), given, lambda: iter(TARGETS))
