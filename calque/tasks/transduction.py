"""Transduction: a word, and symbols with spaces between them (letters to phones, inflection)."""

from calque.tasks.task import Task

TRANSDUCTION = Task(
    name="transduction",
    metrics=("exact", "wer"),
    text={"source": {"kind": "character"}, "target": {"kind": "word"}, "joint": False},
    reason="source by characters, target by symbols between spaces",
)
