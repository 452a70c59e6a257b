"""The verb `compare`: two models, or files of outputs, on the same data."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from calque.data.files.columns import Columns
from calque.data.files.lines import open_lines
from calque.data.files.readers import Example, lines_named
from calque.data.given import Data, given_files
from calque.data.survey import EVERYTHING, development_sample
from calque.errors import DataError, UsageError, texts, wrong_type
from calque.inspection.comparison import Comparison, compare_outputs
from calque.metrics.slices import word_counts
from calque.predict.ensemble import load
from calque.predict.predictor import Predictor
from calque.recipe.layers import validate_section
from calque.recipe.stored import own_columns
from calque.tasks.from_file import find_task
from calque.tasks.kinds import TaskConfig, task_metrics, task_of
from calque.tasks.task import Task

System = Predictor | str | Path


def compare(
    first: System,
    second: System,
    data: Data,
    metrics: str | Sequence[str] = (),
    tokenize: str = "",
    columns: Columns | Mapping[str, object] | None = None,
    task: str | Path | None = None,
    training: Data | None = None,
) -> Comparison:
    """Compare two systems on the same data: is the second better, where, and on which lines?

    A system is a Predictor, a model folder, or a file with a line of output for each pair of `data`. `metrics` default
    to those of the first model's task, or of `task`. `training`: the training pairs, for slices of rare and unseen
    words. The other arguments are those of `evaluate`. Raises UsageError for a path that is neither, and DataError for
    a file with another number of lines.
    """
    opened = [_opened(name, system) for name, system in (("first", first), ("second", second))]
    models = [(own, system) for own, system in zip(opened, (first, second), strict=True) if isinstance(own, Predictor)]
    config, reader = _task(models[0][0] if models else None, task)
    if columns is None and models and not isinstance(models[0][1], Predictor):
        columns = own_columns(models[0][1])
    named = columns if isinstance(columns, Columns) else validate_section(Columns, dict(columns or {}), "columns")
    (cut,) = texts("tokenize", tokenize)
    chosen = task_metrics(config.model_copy(update={"tokenize": cut} if cut else {}), texts("metrics", metrics))
    with given_files(named) as paths:
        dataset = reader.read(paths("data", data), named, None)
        examples = development_sample(dataset, EVERYTHING)
        lines = {example.line for example in examples}
        is_scored = [example.line in lines for example in dataset.examples()]
        found = [_outputs(own, dataset.name, examples, is_scored) for own in opened]
        counts: Counter[str] | None = None
        if training is not None:
            pairs = reader.read(paths("training", training), named, None).examples()
            counts = word_counts(example.source for example in pairs)
    names = str(_name(first)), str(_name(second))
    return compare_outputs(names, (found[0], found[1]), examples, chosen, counts)


def _opened(argument: str, system: object) -> Predictor | Path:
    """Return a Predictor, or the path of a file of outputs."""
    if isinstance(system, Predictor):
        return system
    if not isinstance(system, str | Path):
        raise wrong_type(argument, system, "a model folder, a file of outputs, or a Predictor")
    if str(system) == "-":
        raise UsageError("outputs cannot be read from a pipe, since they are read twice: name a file")
    path = Path(system)
    if not path.exists():
        near = sorted(str(folder.parent) for folder in path.parent.glob("*/recipe.json"))
        hint = f" There is {', '.join(near[:5])}." if near else ""
        raise UsageError(f'"{path}" is neither a model folder nor a file of outputs.{hint}')
    return path if path.is_file() else load(path)


def _task(model: Predictor | None, task: str | Path | None) -> tuple[TaskConfig, Task]:
    own = None if task is None else find_task(task)
    config = model.task if model else TaskConfig(kind=own.name) if own and not own.file else TaskConfig()
    return config, task_of(config, own) if model or own is None else own


def _outputs(system: Predictor | Path, data: str, examples: Sequence[Example], is_scored: Sequence[bool]) -> list[str]:
    """Return an output for each example; a file has one for each pair, also for those with an empty side."""
    if isinstance(system, Predictor):
        with lines_named(examples):
            return system.best([example.source for example in examples])
    found = []
    for line in open_lines(str(system)).lines():
        if isinstance(line, DataError):
            raise line
        found.append(line)
    if len(found) != len(is_scored):
        problem = f"{len(found):,} lines of output, but {data} has {len(is_scored):,} pairs"
        raise DataError(f"{problem}; write one line of output for each pair", system)
    return [line for line, scored in zip(found, is_scored, strict=True) if scored]


def _name(system: System) -> str | Path:
    return "model" if isinstance(system, Predictor) else system
