"""Summarization: a long text, and a short one with its main points."""

from calque.tasks.task import Labels, Task, reading

SUMMARIZATION = Task(
    name="summarization",
    metrics=("rougeL", "rouge1", "rouge2"),
    data={"too_long": "head", "max_length": 400},
    data_reason="long texts are cut to their first 400 tokens",
    text={"joint": True},
    model={"head": {"kind": "pointer"}},
    search={"no_repeat_ngram": 3},
    labels=Labels(source="Text", reference="Summary", output="Output"),
    read=reading(
        ("document", "summary"),
        ("article", "highlights"),
        ("article", "summary"),
        ("text", "summary"),
        ("dialogue", "summary"),
        ("body", "subject"),
    ),
)
