"""Layouts are kept in the text folder and vetted when it is read; a folder of lines is what it was."""

import json
from pathlib import Path
from typing import Any

import pytest
from graph_texts import GRAPHS, LINES, SENTENCES, pair
from pydantic import ValidationError

from calque.config import help_of
from calque.errors import UsageError
from calque.text.pair import TextConfig, TextPair

LAYOUTS = {
    "graph": ({"kind": "graph"}, GRAPHS),
    "labels": ({"kind": "graph", "levi": False, "labels": 3}, GRAPHS),
    "linearised": ({"kind": "linearised"}, GRAPHS),
    "neighbours": ({"kind": "neighbours"}, LINES),
    "ngrams": ({"kind": "ngrams", "n": 4}, LINES),
    "dependencies": ({"kind": "dependencies"}, SENTENCES),
    "dependency-labels": ({"kind": "dependencies", "levi": False}, SENTENCES),
}


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("name", LAYOUTS)
def test_saved_and_loaded_is_equal(name: str, joint: bool, tmp_path: Path) -> None:
    layout, given = LAYOUTS[name]
    text = pair(layout, given, joint=joint, copying=True)
    text.save(tmp_path)
    loaded = TextPair.load(tmp_path)
    assert loaded.fingerprint == text.fingerprint
    assert loaded.files() == text.files()
    assert loaded.read_sources(given) == text.read_sources(given)
    assert (loaded.extras, loaded.layout.num_edge_kinds) == (text.extras, text.layout.num_edge_kinds)


def test_the_folder_of_a_line_is_what_it_was() -> None:
    assert "layout" not in json.loads(pair({"kind": "line"}, LINES).files()["text.json"])


def test_every_layout_has_a_fingerprint_of_its_own() -> None:
    prints = {pair(layout, given).fingerprint for layout, given in LAYOUTS.values()}
    assert len(prints) == len(LAYOUTS)


HOSTILE: dict[str, Any] = {
    "no kind": {"levi": True},
    "unknown kind": {"kind": "hypergraph"},
    "unknown field": {"kind": "graph", "path": "/etc/passwd"},
    "field of another": {"kind": "graph", "n": 3},
    "loose": {"kind": "graph", "levi": "no"},
    "too many labels": {"kind": "graph", "levi": False, "labels": 10**9},
    "fewer labels than the file": {"kind": "graph", "levi": False, "labels": 1},
    "no object": "graph",
    "null": None,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_layout_is_refused_by_name(name: str, tmp_path: Path) -> None:
    pair({"kind": "graph", "levi": False}, GRAPHS).save(tmp_path)
    path = tmp_path / "text.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"layout": HOSTILE[name]}))
    with pytest.raises(UsageError, match=r"text\.json|labels\.json") as error:
        TextPair.load(tmp_path)
    assert len(str(error.value)) < 600


@pytest.mark.parametrize("content", ["", "[\n]\n", "[\n3\n]\n", '[\n"is",\n"is"\n]\n', '["is"]', "[" * 9_000, None])
def test_a_hostile_file_of_labels_is_refused_by_name(content: str | None, tmp_path: Path) -> None:
    pair({"kind": "graph", "levi": False}, GRAPHS).save(tmp_path)
    path = tmp_path / "labels.json"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(UsageError, match=r"labels\.json"):
        TextPair.load(tmp_path)


def test_limits_and_help_of_the_fields() -> None:
    for layout in ({"kind": "ngrams", "n": 1}, {"kind": "graph", "labels": 0}, {"kind": "tree"}):
        with pytest.raises(ValidationError):
            TextConfig.model_validate({"layout": layout})
    models = [type(TextConfig.model_validate({"layout": layout}).layout) for layout, _ in LAYOUTS.values()]
    assert [(model, name) for model in models for name in model.model_fields if not help_of(model).get(name)] == []
