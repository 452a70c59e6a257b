"""The tasks that calque knows: their measures, the first of which decides which checkpoint is best."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from calque.config import Config
from calque.errors import UsageError
from calque.metrics.named import metric_named
from calque.metrics.score import Metric


class TaskConfig(Config):
    """Say what the pairs are."""

    kind: Literal["translation", "transduction"] = "translation"
    """translation, or transduction: words to symbols separated by blanks (letters to phones, inflection)."""
    metrics: tuple[str, ...] = ()
    """Measures, the first decides; empty takes the task's own: bleu, chrf, ter, exact, cer, wer."""
    source_language: str = ""
    """Language code of the source, if known."""
    target_language: str = ""
    """Language code of the target, if known; the tokenizer of BLEU depends on it."""
    target_script: str = ""
    """Script of the target, found in the data."""
    tokenize: str = ""
    """Tokenizer of BLEU and TER; empty chooses by language and script; none for text that is already tokenised."""


@dataclass(frozen=True)
class Task:
    """Hold what a kind of task implies: `metrics`, and `text` settings laid over the defaults."""

    metrics: tuple[str, ...]
    text: dict[str, Any] = field(default_factory=dict)


TASKS = {
    "translation": Task(metrics=("bleu", "chrf")),
    "transduction": Task(
        metrics=("exact", "wer"),
        text={"source": {"kind": "character"}, "target": {"kind": "word"}, "joint": False},
    ),
}


def language_pair(written: str) -> tuple[str, str]:
    """Return source and target of languages written as `en-zh`; UsageError for another form."""
    source, dash, target = written.partition("-")
    if not (source and dash and target):
        raise UsageError(f"--languages {written}: it needs the form SOURCE-TARGET, such as en-zh")
    return source, target


def task_metrics(config: TaskConfig, names: Sequence[str] = ()) -> list[Metric]:
    """Return the measures of a task, or those of `names`, for its target language."""
    chosen = tuple(names) or config.metrics or TASKS[config.kind].metrics
    return [
        metric_named(name, config.target_language or None, config.target_script or None, config.tokenize or None)
        for name in chosen
    ]
