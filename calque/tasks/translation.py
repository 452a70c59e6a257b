"""Translation: a text in one language, and the same text in another."""

from calque.tasks.task import Labels, Task

TRANSLATION = Task(
    name="translation",
    metrics=("bleu", "chrf"),
    labels=Labels(output="Translation"),
    has_languages=True,
)
