"""Question answering: a question and a text that contains the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from calque.tasks.task import Labels, Task, reading

if TYPE_CHECKING:
    from calque.data.survey import Survey

# With few answers a question is a choice between them, and stories are short sentences: a memory network learns from
# 1,000 stories of bAbI what an LSTM or a Transformer does not learn.
FEW_ANSWERS = 200
FEWER_THAN_PAIRS = 4


def choose_model(survey: Survey) -> tuple[str, str] | None:
    """Return the memory network for data whose answers are few."""
    answers = len(set(survey.target.sample))
    if answers > FEW_ANSWERS or answers * FEWER_THAN_PAIRS > len(survey.target.sample):
        return None
    return "memory", f"{answers:,} different answers in {len(survey.target.sample):,} pairs"


QUESTION_ANSWERING = Task(
    name="question-answering",
    metrics=("f1", "em"),
    data={"too_long": "windows", "max_length": 400},
    data_reason="longer contexts are read in overlapping windows of 400 tokens",
    labels=Labels(source="Question", reference="Answer", output="Output"),
    choose_model=choose_model,
    read=reading(
        (("question", "context"), "answer"),
        (("question", "context"), "answers"),
        (("question", "passage"), "answer"),
        (("question", "story"), "answer"),
        ("question", "answer"),
    ),
)
