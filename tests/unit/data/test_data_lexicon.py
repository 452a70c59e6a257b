"""Dictionaries in CMUdict's form: every word once, with all its pronunciations."""

from pathlib import Path

import pytest

from calque.data.files.columns import Columns
from calque.data.files.readers import Dataset, open_dataset
from calque.errors import DataError

ENTRIES = """;;; a comment
BANON  B AE1 N OW1 N
BANON(2)  B AE0 N OW0 N
BANON(3)  B AE1 N OW1 N
'EM  AH0 M
MIRA M IY1 R AH0 # a name

OLD-TOWN  OW1 L D T AW1 N
"""


def opened(folder: Path, content: str) -> Dataset:
    path = folder / "words.dict"
    path.write_text(content, encoding="utf-8")
    return open_dataset([str(path)], Columns())


def test_variants_are_right_answers_of_their_word(tmp_path: Path) -> None:
    dataset = opened(tmp_path, ENTRIES)
    assert dataset.description == "a pronunciation dictionary"
    assert [(example.source, example.targets, example.line) for example in dataset.examples()] == [
        ("BANON", ("B AE1 N OW1 N", "B AE0 N OW0 N"), 2),
        ("'EM", ("AH0 M",), 5),
        ("MIRA", ("M IY1 R AH0",), 6),
        ("OLD-TOWN", ("OW1 L D T AW1 N",), 8),
    ]


def test_a_word_without_phones_is_an_error_with_its_line(tmp_path: Path) -> None:
    more = "".join(f"WORD{number}  W ER1 D\n" for number in range(30))
    dataset = opened(tmp_path, ENTRIES + more + "LONELY\nLAST  L AE1 S T\n")
    bad: list[DataError] = []
    found = list(dataset.examples(bad.append))
    assert [error.line for error in bad] == [39]
    assert found[-1].source == "LAST"
    assert len(found) == 35
    with pytest.raises(DataError, match="a word without phones"):
        list(dataset.examples())
