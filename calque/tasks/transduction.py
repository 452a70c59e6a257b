"""Transduction: a word, and symbols with spaces between them (letters to phones, inflection)."""

from calque.tasks.task import Task

TRANSDUCTION = Task(
    name="transduction",
    metrics=("exact", "wer", "per"),
    line_is_word=True,
    text={"source": {"kind": "character"}, "target": {"kind": "word"}, "joint": False},
    reason="source by characters, target by symbols between spaces",
)
