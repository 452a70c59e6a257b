"""The verbs of calque, for Python and for the command line: train, load, evaluate, compare, check."""

import dataclasses
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from calque.data.check.dataset import check_dataset
from calque.data.check.fix import fix_dataset
from calque.data.check.report import CheckReport
from calque.data.files.columns import Columns
from calque.data.files.readers import open_dataset
from calque.data.given import Data, given_files
from calque.data.survey import EVERYTHING, development_sample
from calque.errors import UsageError, texts, wrong_type
from calque.inspection.compare import compare as compare
from calque.metrics.score import Score
from calque.predict.ensemble import load as load
from calque.predict.predictor import Predictor
from calque.recipe.layers import merge, read_file, validate_section
from calque.recipe.stored import own_columns
from calque.recipe.values import settings_layer
from calque.report.progress import display_for
from calque.runs.finish import score_examples
from calque.runs.info import info as info
from calque.runs.mismatch import mismatches
from calque.runs.request import Named, Options, make_request
from calque.runs.session import run_training
from calque.tasks.from_file import find_task
from calque.tasks.kinds import task_metrics, task_of
from calque.tasks.table import DEFAULT_TASK


def train(
    *data: Data,
    out: str | Path | None = None,
    valid: Data | None = None,
    test: Data | None = None,
    model: str = "auto",
    size: str = "auto",
    task: str | Path = DEFAULT_TASK,
    languages: str | None = None,
    start_from: str | Path | None = None,
    time: str | float | None = None,
    seed: int | None = None,
    threads: int | None = None,
    config: str | Path | None = None,
    settings: Mapping[str, object] | None = None,
    fresh: bool = False,
    quiet: bool = False,
    verbose: bool = False,
) -> Predictor:
    """Train a model and return the best one; the same call again continues.

    `data`: a file of pairs, a source and a target file, a list of pairs (source, target), or a DataFrame. `valid` and
    `test` take the same. `out` is the folder of the run; by default runs/<file name>, or runs/pairs for data in memory.
    `task`: a name, or the path of a Python file that sets TASK. `start_from`: a model folder to start from.
    `time`: such as "20m"; a number counts minutes. `config`: a TOML recipe. `settings`: recipe fields with values of
    Python, by dotted keys or nested, such as {"train.lr": 0.001, "model": {"encoder": {"width": 256}}}.

    Raises UsageError, DataError, ResourceError or Diverged; KeyboardInterrupt after Ctrl-C and SystemExit after
    SIGTERM, when the state has been saved.
    """
    for name, flag in (("fresh", fresh), ("quiet", quiet), ("verbose", verbose)):
        if not isinstance(flag, bool):
            raise wrong_type(name, flag, "True or False")
    layer = settings_layer({} if settings is None else settings)
    given = merge(read_file(str(config)) if config is not None else {}, layer).get("data", {})
    columns = _columns(given.get("columns") if isinstance(given, dict) else None)
    with given_files(columns) as paths:
        files = paths("data", data[0] if len(data) == 1 else data) if data else []
        options = Options(paths.one("valid", valid), paths.one("test", test), start_from, time, seed, threads)
        named = Named(model, size, task, languages)
        request = make_request(
            files, out, named, layer, None if config is None else str(config), options, paths.in_memory
        )
        with display_for(sys.stderr, quiet) as display:
            outcome = run_training(request, fresh, display, verbose)
    if outcome is not None and outcome.signal == signal.SIGINT:
        raise KeyboardInterrupt(f"saved in {request.out}; the same call continues")
    if outcome is not None and outcome.signal:
        raise SystemExit(128 + outcome.signal)
    return load(request.out)


def evaluate(
    model: Predictor | str | Path | Sequence[str | Path],
    data: Data,
    metrics: str | Sequence[str] = (),
    tokenize: str = "",
    batch_size: int = 0,
    columns: Columns | Mapping[str, object] | None = None,
    task: str | Path | None = None,
    warn: Callable[[str], None] | None = None,
) -> list[Score]:
    """Score a model, or several as an ensemble, on pairs, with 95 % intervals; `metrics` default to the task's own.

    `data` and `task` as in `train`. `tokenize` "none" is for tokenised text; `columns` default to those of the model.
    `warn` is called with each sign that the data differ from the training data, such as another script.
    """
    if not isinstance(model, Predictor | str | Path | list | tuple):
        raise wrong_type("model", model, "a model folder, a list of them, or a Predictor")
    if not isinstance(batch_size, int) or batch_size < 0:
        raise UsageError(f"batch_size is {batch_size!r}; it must be a number of lines, or 0 to choose it")
    predictor = model if isinstance(model, Predictor) else load(model)
    if columns is None and not isinstance(model, Predictor):
        columns = own_columns(model if isinstance(model, str | Path) else model[0])
    columns = _columns(columns)
    (cut,) = texts("tokenize", tokenize)
    config = predictor.task.model_copy(update={"tokenize": cut} if cut else {})
    measures = task_metrics(config, texts("metrics", metrics))
    read = task_of(config, None if task is None else find_task(task)).read
    with given_files(columns) as paths:
        examples = development_sample(read(paths("data", data), columns, None), EVERYTHING)
    scores, _ = score_examples(predictor, examples, measures, batch_size)
    if warn is not None:
        for sign in mismatches(predictor.text, predictor.task.target_script, examples, scores):
            warn(sign)
    return scores


def check(
    *data: Data,
    other: Data | None = None,
    columns: Columns | Mapping[str, object] | None = None,
    valid: Data | None = None,
    task: str | Path = DEFAULT_TASK,
) -> CheckReport:
    """Report the problems of a data set; `other` is a test set, which should share no source with it.

    `columns` name the columns of all sets, such as {"source": "body"}; without `valid`, training holds out a tenth;
    `task` as in `train`. The report's `is_refused` is whether training would refuse the data.
    """
    columns, read = _columns(columns), find_task(task).read
    with given_files(columns) as paths:
        dataset = read(paths("data", data[0] if len(data) == 1 else data), columns, None)
        sets = [("other", other), ("valid", valid)]
        others = [None if part is None else read(paths(name, part), columns, None) for name, part in sets]
        return check_dataset(dataset, *others)


def fix(data: Sequence[str], out: str, columns: Columns | Mapping[str, object] | None = None) -> dict[str, int]:
    """Write a clean copy of a data set: without bad lines, empty sides and repeats; return the counts."""
    return dataclasses.asdict(fix_dataset(open_dataset(data, _columns(columns)), Path(out)))


def _columns(columns: Columns | Mapping[str, object] | None) -> Columns:
    if not isinstance(columns, Columns | Mapping | None):
        raise wrong_type("columns", columns, 'a dictionary such as {"source": "body"}')
    return columns if isinstance(columns, Columns) else validate_section(Columns, dict(columns or {}), "columns")
