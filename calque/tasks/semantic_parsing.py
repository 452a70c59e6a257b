"""Semantic parsing: a question or a command, and the query, logical form or code that answers it."""

from calque.tasks.task import Labels, Task, reading

SEMANTIC_PARSING = Task(
    name="semantic-parsing",
    metrics=("exact",),
    text={"joint": True},
    model={"head": {"kind": "pointer"}},
    labels=Labels(source="Question", reference="Query", output="Output"),
    read=reading(
        ("question", "query"),
        ("question", "sql"),
        ("question", "logical_form"),
        ("utterance", "program"),
        ("command", "actions"),
        ("text", "code"),
    ),
)
