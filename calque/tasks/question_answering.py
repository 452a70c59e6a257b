"""Question answering: a question and a text that contains the answer."""

from calque.tasks.task import Labels, Task, reading

QUESTION_ANSWERING = Task(
    name="question-answering",
    metrics=("f1", "em"),
    data={"too_long": "windows", "max_length": 400},
    data_reason="longer contexts are read in overlapping windows of 400 tokens",
    labels=Labels(source="Question", reference="Answer", output="Output"),
    read=reading(
        (("question", "context"), "answer"),
        (("question", "context"), "answers"),
        (("question", "passage"), "answer"),
        (("question", "story"), "answer"),
        ("question", "answer"),
    ),
)
