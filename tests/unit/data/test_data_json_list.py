"""A JSON list of objects is read like JSON Lines, and its faults have the number of their object."""

import json
from pathlib import Path

import pytest

from calque.data.files.columns import Columns
from calque.data.files.readers import Dataset, open_dataset
from calque.errors import DataError

PAIRS = [{"source": "a\tb", "target": "c"}, {"source": "d", "target": ["e", "f"]}, {"source": "", "target": ""}]


def opened(folder: Path, content: str, columns: Columns = Columns()) -> Dataset:  # noqa: B008 - frozen
    path = folder / "pairs.json"
    path.write_text(content, encoding="utf-8")
    return open_dataset([str(path)], columns)


@pytest.mark.parametrize("indent", [None, 2])
def test_objects_are_read_as_from_lines(tmp_path: Path, indent: int | None) -> None:
    dataset = opened(tmp_path, json.dumps(PAIRS, indent=indent))
    lines = tmp_path / "pairs.jsonl"
    lines.write_text("".join(json.dumps(pair) + "\n" for pair in PAIRS))
    assert dataset.description == "a JSON list"
    assert list(dataset.examples()) == list(open_dataset([str(lines)], Columns()).examples())
    assert dataset.joined_newlines == 1


def test_names_of_the_first_object_are_those_of_columns(tmp_path: Path) -> None:
    named = Columns(source="body", target="title")
    dataset = opened(tmp_path, json.dumps([{"body": "x", "title": "y"}]), named)
    assert [(example.source, example.targets) for example in dataset.examples()] == [("x", ("y",))]
    path = str(tmp_path / "pairs.json")
    assert open_dataset([path], Columns(), usual=[named]).columns == named


def test_a_bad_object_has_its_number(tmp_path: Path) -> None:
    dataset = opened(tmp_path, json.dumps([PAIRS[1], {"source": "x"}, [1], PAIRS[1]]))
    bad: list[DataError] = []
    assert len(list(dataset.examples(bad.append))) == 2
    assert [error.line for error in bad] == [2, 3]
    assert 'no key "target"' in bad[0].message


def test_a_document_that_breaks_off_is_refused_with_its_line(tmp_path: Path) -> None:
    whole = json.dumps(PAIRS, indent=1)
    with pytest.raises(DataError, match=r"pairs\.json:\d+: not JSON"):
        list(opened(tmp_path, whole[:-20]).examples())


@pytest.mark.parametrize("content", ['["a", "b"]\n', "[[1, 2]]\n"])
def test_a_list_of_other_values_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(DataError, match="not objects"):
        opened(tmp_path, content)
