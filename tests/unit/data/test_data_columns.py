"""Several sources and tags: the same columns from every form of file, and an error with line and mend for the rest."""

import csv
import io
import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from calque.data.check.fix import fix_dataset
from calque.data.files.columns import Columns
from calque.data.files.readers import Dataset, Example, open_dataset
from calque.data.split import is_held_out
from calque.data.survey import survey, training_pairs
from calque.errors import DataError, UsageError

SEVERAL = Columns(source=("question", "passage"), target="answer")
TAGGED = Columns(source=("question", "passage"), target="answer", tag="lang")
ROWS = [
    {"lang": "en", "question": "who came?", "passage": "Ada came, and left.", "answer": "Ada"},
    {"lang": "de", "question": "wer kam?", "passage": "", "answer": "niemand"},
    {"lang": " en ", "question": "", "passage": "Nothing else.", "answer": "no one"},
    {"lang": "", "question": " ", "passage": "", "answer": "blank"},
]


def written(form: str, folder: Path, rows: list[dict] = ROWS) -> Path:
    """Write rows in a form, the columns in another order than the recipe's."""
    path = folder / f"data.{form}"
    names = ["answer", "passage", "other", "lang", "question"]
    full = [row | {"other": "x"} for row in rows]
    if form == "jsonl":
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in full))
    elif form == "tsv":
        path.write_text("".join("\t".join(row) + "\n" for row in [names, *([r[n] for n in names] for r in full)]))
    else:
        stream = io.StringIO()
        csv.writer(stream).writerows([names, *([row[name] for name in names] for row in full)])
        path.write_text(stream.getvalue())
    return path


def opened(path: Path, columns: Columns) -> Dataset:
    """Open a file with columns."""
    return open_dataset([str(path)], columns)


each_form = pytest.mark.parametrize("form", ["tsv", "csv", "jsonl"])


@each_form
def test_every_form_gives_the_columns_in_the_order_of_the_recipe(form: str, tmp_path: Path) -> None:
    path = written(form, tmp_path)
    first = 1 if form == "jsonl" else 2
    assert [(example.source, example.targets) for example in opened(path, SEVERAL).examples()] == [
        ("who came?\tAda came, and left.", ("Ada",)),
        ("wer kam?\t", ("niemand",)),
        ("\tNothing else.", ("no one",)),
        ("", ("blank",)),
    ]
    tagged = list(opened(path, TAGGED).examples())
    assert [example.source for example in tagged] == [
        "en\twho came?\tAda came, and left.",
        "de\twer kam?\t",
        "en\t\tNothing else.",
        "",
    ]
    assert [example.line for example in tagged] == list(range(first, first + 4))


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_tabs_and_breaks_inside_a_text_are_blanks_and_counted(form: str, tmp_path: Path) -> None:
    row = {"lang": "en", "question": "a\tb\nc", "passage": "d\r\ne", "answer": "f\tg"}
    dataset = opened(written(form, tmp_path, [row]), SEVERAL)
    (example,) = dataset.examples()
    assert (example.source, example.targets) == ("a b c\td e", ("f g",))
    assert dataset.joined_newlines == 4


def test_several_right_answers_stay_together(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text('{"question": "q", "passage": "p", "answer": ["a", "b"]}\n')
    assert list(opened(path, SEVERAL).examples()) == [Example("q\tp", ("a", "b"), 1)]


@each_form
def test_a_pair_without_a_tag_is_named(form: str, tmp_path: Path) -> None:
    rows = [ROWS[0], ROWS[1] | {"lang": " "}]
    with pytest.raises(DataError, match=r'"lang" is empty; every pair needs a tag; fill it in') as found:
        list(opened(written(form, tmp_path, rows), TAGGED).examples())
    assert found.value.line == (2 if form == "jsonl" else 3)


@each_form
def test_a_column_that_is_not_there_is_named(form: str, tmp_path: Path) -> None:
    columns = Columns(source=("question", "passages"), target="answer")
    with pytest.raises(DataError, match=r'no (column|key) "passages".*Did you mean "passage"'):
        list(opened(written(form, tmp_path), columns).examples())


def test_columns_without_names_are_refused_with_the_way_to_name_them(tmp_path: Path) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_text("who came?\tAda came.\tAda\n")
    with pytest.raises(DataError, match=r"3 columns instead of two.*header.*several sources: --set data\.columns\.s"):
        list(opened(path, Columns()).examples())
    with pytest.raises(DataError, match=r'no column "question"; the first line has "who came\?"'):
        opened(path, SEVERAL)


def test_a_line_of_too_few_columns_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_text("question\tpassage\tanswer\nq\tp\ta\nq\ta\n")
    with pytest.raises(DataError, match="2 columns, but the header has 3") as found:
        list(opened(path, SEVERAL).examples())
    assert found.value.line == 3


def test_a_tag_must_be_text(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"lang": ["en"], "question": "q", "passage": "p", "answer": "a"}\n')
    with pytest.raises(DataError, match=r'"lang" is a list; it must be a text in quotation marks$'):
        list(opened(path, TAGGED).examples())


def test_two_plain_files_have_no_columns(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text("text\n")
    with pytest.raises(UsageError, match=r'no columns "lang" and "question" and "passage": give one file'):
        open_dataset([str(tmp_path / "a"), str(tmp_path / "b")], TAGGED)


def test_the_same_source_is_on_one_side_whatever_its_tag(tmp_path: Path) -> None:
    """Translations of one sentence into several languages are all trained on, or all held out."""
    columns = Columns(tag="lang")
    path = tmp_path / "pairs.tsv"
    lines = [f"{tag}\tsentence {number}\tanswer\n" for number in range(200) for tag in ("de", "fr")]
    path.write_text("".join(["lang\tsource\ttarget\n", *lines]))
    dataset = opened(path, columns)
    trained = {source for source, _ in training_pairs(dataset, split=True)}
    held_out = {example.source for example in survey(dataset, True, 1000).held_out}
    assert held_out
    assert len(trained) + len(held_out) == 400
    texts = {source.partition("\t")[2] for source in held_out}
    assert texts == {f"sentence {number}" for number in range(200) if is_held_out(f"sentence {number}")}
    assert not texts & {source.partition("\t")[2] for source in trained}


@each_form
def test_a_clean_copy_can_be_read_again(form: str, tmp_path: Path) -> None:
    rows = [*ROWS[:3], ROWS[0]]
    dataset = opened(written(form, tmp_path, rows), TAGGED)
    counts = fix_dataset(dataset, tmp_path / "clean.tsv")
    assert (counts.kept, counts.duplicates) == (3, 1)
    again = [example.source for example in opened(tmp_path / "clean.tsv", TAGGED).examples()]
    assert again == [example.source for example in dataset.examples()][:3]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"source": ["a"]}, "at least two sources"),
        ({"source": []}, "at least two sources"),
        ({"source": ["a", "a"]}, '"a" is named twice'),
        ({"source": "target"}, '"target" is named twice'),
        ({"tag": "source"}, '"source" is named twice'),
        ({"source": ["a", ""]}, "a column needs a name"),
        ({"source": ""}, "a column needs a name"),
        ({"source": 1}, "must be the name of a column"),
        ({"target": 2}, "must be the name of a column"),
    ],
)
def test_names_that_cannot_be_are_refused(fields: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Columns.model_validate(fields)
