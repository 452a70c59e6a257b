"""The verbs of calque, for Python and for the command line: train, load, evaluate, check."""

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from calque.data.check.dataset import check_dataset
from calque.data.check.fix import fix_dataset
from calque.data.check.report import CheckReport
from calque.data.files.columns import Columns
from calque.data.files.readers import open_dataset
from calque.data.survey import EVERYTHING, development_sample
from calque.metrics.score import Score
from calque.predict.ensemble import load as load
from calque.predict.predictor import Predictor
from calque.recipe.layers import validate_section
from calque.recipe.stored import own_columns
from calque.report.progress import display_for
from calque.runs.finish import score_examples
from calque.runs.info import info as info
from calque.runs.request import Named, make_request
from calque.runs.session import run_training
from calque.tasks.kinds import task_metrics


def train(
    *data: str | Path,
    out: str | Path | None = None,
    model: str = "auto",
    size: str = "auto",
    task: str = "translation",
    languages: str | None = None,
    settings: Mapping[str, Any] | None = None,
    **common: Any,
) -> Predictor:
    """Train a model on a file of pairs, or on a source and a target file; the same call again resumes.

    `settings` are recipe fields by dotted key, such as {"train.lr": 0.001}. Also taken, as on the command line:
    `valid`, `test` (paths), `start_from` (a model folder to go on from with other data), `time` ("20m"), `seed`,
    `threads`, `config` (a TOML file); `fresh`, `quiet`, `verbose`, all False.
    Returns the best model. Raises UsageError, DataError, ResourceError or Diverged.
    """
    fresh, quiet, verbose = (common.pop(name, False) for name in ("fresh", "quiet", "verbose"))
    lines = [f"{key}={_toml(value)}" for key, value in (settings or {}).items()]
    request = make_request([str(path) for path in data], out, Named(model, size, task, languages), lines, **common)
    with display_for(sys.stderr, quiet) as display:
        run_training(request, fresh, display, verbose)
    return load(request.out)


def evaluate(
    model: Predictor | str | Path | Sequence[str | Path],
    data: str | Path | Sequence[str | Path],
    metrics: Sequence[str] = (),
    tokenize: str = "",
    batch_size: int = 0,
    columns: Columns | None = None,
) -> list[Score]:
    """Score a model, or several as an ensemble, on pairs, with 95 % intervals; `metrics` default to the task's own.

    `tokenize` "none" is for text that is already tokenised; `columns` default to those that a model folder names.
    """
    predictor = model if isinstance(model, Predictor) else load(model)
    if columns is None:
        first = model if isinstance(model, str | Path | Predictor) else model[0]
        columns = Columns() if isinstance(first, Predictor) else own_columns(first)
    paths = [str(data)] if isinstance(data, str | Path) else [str(path) for path in data]
    examples = development_sample(open_dataset(paths, columns), EVERYTHING)
    task = predictor.task.model_copy(update={"tokenize": tokenize} if tokenize else {})
    scores, _ = score_examples(predictor, examples, task_metrics(task, metrics), batch_size)
    return scores


def check(
    *data: str | Path,
    other: str | Path | None = None,
    columns: Columns | Mapping[str, str] | None = None,
    valid: str | Path | None = None,
) -> CheckReport:
    """Find what is wrong with a data set; `other` is a test set that should share nothing with it.

    `columns` name the columns of all sets, such as {"source": "body"}; `valid` is the file to validate on, without
    which training holds a tenth out. The report's `is_refused` is whether training would refuse the data.
    """
    columns = _columns(columns)
    dataset = open_dataset([str(path) for path in data], columns)
    others = [open_dataset([str(path)], columns) if path else None for path in (other, valid)]
    return check_dataset(dataset, *others)


def fix(data: Sequence[str], out: str, columns: Columns | Mapping[str, str] | None = None) -> dict[str, int]:
    """Write a clean copy of a data set: without bad lines, empty sides and repeats; return the counts."""
    return dataclasses.asdict(fix_dataset(open_dataset(data, _columns(columns)), Path(out)))


def _columns(columns: Columns | Mapping[str, str] | None) -> Columns:
    return columns if isinstance(columns, Columns) else validate_section(Columns, dict(columns or {}), "columns")


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)
