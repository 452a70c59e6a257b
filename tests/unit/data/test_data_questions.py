"""SQuAD's JSON and bAbI's stories: every question with its right answers, each fault with its question."""

import json
from pathlib import Path
from typing import Any

import pytest

from calque.data.files.columns import Columns
from calque.data.files.readers import Dataset, open_dataset
from calque.errors import DataError
from calque.tasks.question_answering import QUESTION_ANSWERING

CONTEXT = "The mill stands by the river, north of the bridge."
COLUMNS = Columns(source=("question", "context"), target="answer")


def answer(text: str, start: int | None = None) -> dict[str, Any]:
    return {"text": text, "answer_start": CONTEXT.find(text) if start is None else start}


def squad(*questions: dict[str, Any], context: object = CONTEXT) -> dict[str, Any]:
    return {"version": "1.1", "data": [{"title": "Mill", "paragraphs": [{"context": context, "qas": list(questions)}]}]}


def asked(*answers: dict[str, Any], **others: object) -> dict[str, Any]:
    return {"id": "q1", "question": "Where is the mill?", "answers": list(answers), **others}


def opened(folder: Path, content: object, name: str = "data.json") -> Dataset:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return QUESTION_ANSWERING.read([str(path)], Columns(), None)


@pytest.mark.parametrize("indent", [None, 1])
def test_each_question_has_its_different_answers(tmp_path: Path, indent: int | None) -> None:
    right = [answer("by the river"), answer("by the river"), answer("north of the bridge")]
    content = json.dumps(squad(asked(*right), asked(answer("The mill"))), indent=indent)
    dataset = opened(tmp_path, content)
    assert dataset.columns == COLUMNS
    assert dataset.description == "JSON in SQuAD's form"
    first, second = dataset.examples()
    assert first.source == f"Where is the mill?\t{CONTEXT}"
    assert first.targets == ("by the river", "north of the bridge")
    assert second.targets == ("The mill",)
    assert second.line == 2


def test_a_question_that_cannot_be_answered_has_an_empty_answer(tmp_path: Path) -> None:
    dataset = opened(tmp_path, squad(asked(is_impossible=True), asked(answer("by the river"), is_impossible=False)))
    assert [example.targets for example in dataset.examples()] == [("",), ("by the river",)]


@pytest.mark.parametrize(
    ("question", "message"),
    [
        (asked(answer("by the river", 3)), f'"answer_start" is 3, .* at {CONTEXT.find("by the river")}; correct it'),
        (asked(answer("by the sea")), '"by the sea" is not in its context'),
        (asked(), '"is_impossible" is not true'),
        (asked(answers=None), 'no list "answers"'),
        (asked(answers=[{"answer_start": 3}]), 'has no "text"'),
        ({"id": "q1", "answers": [answer("by the river")]}, 'no text "question"'),
    ],
)
def test_faults_are_named_with_their_question(tmp_path: Path, question: dict[str, Any], message: str) -> None:
    dataset = opened(tmp_path, squad(asked(answer("by the river")), question))
    bad: list[DataError] = []
    assert len(list(dataset.examples(bad.append))) == 1
    (error,) = bad
    assert error.message.startswith("question 2 (id q1): ")
    assert error.line == 2
    assert "calque check FILE --fix OUT" in error.message
    with pytest.raises(DataError, match=message):
        list(dataset.examples())


@pytest.mark.parametrize("context", ["", "  ", None, 5])
def test_an_empty_context_is_named(tmp_path: Path, context: object) -> None:
    good = squad(asked(answer("by the river")))
    content = {"data": good["data"] + squad(asked(answer("by the river")), context=context)["data"]}
    with pytest.raises(DataError, match=r"question 2 \(id q1\): its context is empty"):
        list(opened(tmp_path, content).examples())


@pytest.mark.parametrize(
    "content",
    ['{"data": [{"paragraphs": 5}]}', '{"data": [{"paragraphs": [{"context": "a"}]}]}', '{"data": [{"paragraphs": [7'],
)
def test_a_damaged_document_is_one_line(tmp_path: Path, content: str) -> None:
    with pytest.raises(DataError) as error:
        list(opened(tmp_path, content).examples())
    assert "\n" not in str(error.value)


def test_another_task_is_told_which_one_reads_the_file(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    path.write_text(json.dumps(squad(asked(answer("by the river")))))
    with pytest.raises(DataError, match="use --task question-answering"):
        open_dataset([str(path)], Columns())
    chosen = open_dataset([str(path)], Columns(source="question", target="answers"))
    assert [(example.source, example.targets) for example in chosen.examples()] == [
        ("Where is the mill?", ("by the river",))
    ]


STORY = """1 Ann went to the mill.
2 Bob went home.
3 Where is Ann? \tmill\t1
4 Ann went to the bridge.
5 Where is Ann? \tbridge\t4
1 Bob took the bread, and the milk.
2 What does Bob have? \tbread,milk\t1
"""


def test_a_story_has_the_sentences_before_each_question(tmp_path: Path) -> None:
    dataset = opened(tmp_path, STORY, "qa1_train.txt")
    assert dataset.description == "stories of bAbI"
    assert [(example.source, example.targets, example.line) for example in dataset.examples()] == [
        ("Where is Ann?\tAnn went to the mill. Bob went home.", ("mill",), 3),
        ("Where is Ann?\tAnn went to the mill. Bob went home. Ann went to the bridge.", ("bridge",), 5),
        ("What does Bob have?\tBob took the bread, and the milk.", ("bread,milk",), 7),
    ]


def test_a_line_without_a_number_is_an_error(tmp_path: Path) -> None:
    dataset = opened(tmp_path, STORY + "Ann went home.\n", "qa1_train.txt")
    bad: list[DataError] = []
    assert len(list(dataset.examples(bad.append))) == 3
    assert [error.line for error in bad] == [8]


@pytest.mark.parametrize(
    ("header", "source"),
    [("question\tcontext\tanswer", "Where?\tIt is here."), ("question\tpassage\tanswer", "Where?\tIt is here.")],
)
def test_usual_names_of_columns_are_known(tmp_path: Path, header: str, source: str) -> None:
    dataset = opened(tmp_path, f"{header}\nWhere?\tIt is here.\there\n", "data.tsv")
    assert [example.source for example in dataset.examples()] == [source]
    lines = json.dumps(dict(zip(header.split("\t"), ("Where?", "It is here.", "here"), strict=True)))
    assert [example.source for example in opened(tmp_path, lines, "data.jsonl").examples()] == [source]


def test_names_that_the_user_gives_have_precedence(tmp_path: Path) -> None:
    path = tmp_path / "data.tsv"
    path.write_text("question\tcontext\tanswer\nWhere?\tIt is here.\there\n")
    chosen = Columns(source="context", target="question")
    dataset = QUESTION_ANSWERING.read([str(path)], chosen, None)
    assert [(example.source, example.targets) for example in dataset.examples()] == [("It is here.", ("Where?",))]
