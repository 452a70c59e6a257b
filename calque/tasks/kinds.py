"""The section `task` of a recipe, with its metrics and labels."""

from collections.abc import Sequence

from pydantic import model_validator

from calque.config import Config
from calque.errors import UsageError, did_you_mean
from calque.metrics.named import metric_named
from calque.metrics.score import Metric
from calque.tasks.table import DEFAULT_TASK, TASKS
from calque.tasks.task import Labels, Task


class OwnTask(Config):
    """The record of a task that a user wrote, in a model folder; the file itself is not needed to answer."""

    file: str = ""
    """Name of the file."""
    sha256: str = ""
    """SHA-256 of the file's content."""
    reads_pairs: bool = True
    """Whether the task reads its data as pairs; if not, `evaluate` needs the file."""
    labels: Labels = Labels()
    """Names of the sides on pages."""
    line_is_word: bool = False
    """Whether each target is one word, so that WER is the share of wrong lines."""


class TaskConfig(Config):
    """The meaning of the pairs."""

    kind: str = DEFAULT_TASK
    """Name of the task, such as translation or transduction (words to symbols with spaces between them)."""
    metrics: tuple[str, ...] = ()
    """Names of metrics, such as bleu; the first one chooses the best checkpoint; empty: those of the task."""
    source_language: str = ""
    """Language code of the source, if known."""
    target_language: str = ""
    """Language code of the target, if known; the tokenizer of BLEU depends on it."""
    target_script: str = ""
    """Script of the target, detected in the data."""
    tokenize: str = ""
    """Tokenizer of BLEU and TER; empty: chosen by language and script; none: for tokenised text."""
    own: OwnTask | None = None
    """Record of a task from a file, written by calque; empty for a task of calque."""

    @model_validator(mode="after")
    def _kind_is_known(self) -> "TaskConfig":
        if self.own is None and self.kind not in TASKS:
            hint = did_you_mean(self.kind, TASKS)
            raise ValueError(f"kind: no task {self.kind!r}; there are {', '.join(TASKS)}.{hint}")
        if self.own is not None and not self.metrics:
            raise ValueError(f"metrics: the task {self.kind!r} has no recorded metrics")
        return self

    @property
    def labels(self) -> Labels:
        """Return the names of the sides."""
        return self.own.labels if self.own else TASKS[self.kind].labels


def recorded(task: Task) -> dict[str, object]:
    """Return the fields of `TaskConfig` that record a task, including metrics and labels of a user's own task."""
    if not task.file:
        return {"kind": task.name}
    labels = {"source": task.labels.source, "reference": task.labels.reference, "output": task.labels.output}
    own = {"file": task.file, "sha256": task.sha256, "reads_pairs": task.reads_pairs, "labels": labels}
    own["line_is_word"] = task.line_is_word
    return {"kind": task.name, "metrics": tuple(task.metrics), "own": own}


def task_of(config: TaskConfig, given: Task | None = None) -> Task:
    """Return the task that a model was trained for; `given` is the user's own task, checked against the record.

    Raises UsageError if code of the task's file reads the model's data, and another file, or none, was given.
    """
    own = config.own
    if own is None:
        if given is not None and given.name != config.kind:
            raise UsageError(f"the model was trained for {config.kind}, and not for {given.name}: leave the task out")
        return TASKS[config.kind]
    if given is not None and given.sha256 == own.sha256:
        return given
    if given is not None:
        raise UsageError(
            f"the model was trained for the task of {own.file} with SHA-256 {own.sha256[:12]}; the file given has"
            f" {given.sha256[:12] or 'none'}: pass the unchanged file of the training"
        )
    if not own.reads_pairs:
        raise UsageError(
            f"the data of this model are read by code of {own.file} (SHA-256 {own.sha256[:12]}), which is not in the"
            f' model folder. Pass the file with --task {own.file}, in Python task="{own.file}"'
        )
    return Task(config.kind, config.metrics, labels=own.labels)


def language_pair(written: str) -> tuple[str, str]:
    """Return source and target of languages written as `en-zh`; UsageError for another form."""
    source, dash, target = written.partition("-")
    if not (source and dash and target):
        raise UsageError(f"--languages {written}: it needs the form SOURCE-TARGET, such as en-zh")
    return source, target


def task_metrics(config: TaskConfig, names: Sequence[str] = ()) -> list[Metric]:
    """Return the metrics of a task, or those of `names`, for its target language."""
    chosen = tuple(names) or config.metrics or TASKS[config.kind].metrics
    target = config.target_language or None, config.target_script or None, config.tokenize or None
    line_is_word = config.own.line_is_word if config.own else TASKS[config.kind].line_is_word
    return [metric_named(name, *target, line_is_word) for name in chosen]
