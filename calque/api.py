"""The verbs of calque, for Python and for the command line: train, load, evaluate, check."""

import dataclasses
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from calque.completion import complete, samples, score_examples
from calque.data.check import CheckReport, check_dataset, fix_dataset
from calque.data.lines import open_lines
from calque.data.readers import Columns, open_dataset
from calque.data.survey import development_sample
from calque.engines.choice import Opened, choose_engine
from calque.engines.eager import Engine
from calque.errors import UsageError
from calque.facts import info as info
from calque.machine import gpu_name, place
from calque.metrics.score import Score
from calque.model import build
from calque.model_folder import read_sections
from calque.predict import Predictor
from calque.predict_ensemble import load as load
from calque.preparation import Prepared, Request, plan, prepare
from calque.recipe.layers import Layer, check_settings, flatten, merge, read_file, read_settings, validate_section
from calque.recipe.origin import origin_of
from calque.recipe.presets import Choice, check_names
from calque.recipe.tree import Recipe
from calque.report.progress import Display, display_for
from calque.search.options import SearchConfig
from calque.tasks.kinds import language_pair, task_metrics
from calque.text.scripts import guess_languages
from calque.training.lock import RunLock
from calque.training.record import limits_of, write_record
from calque.training.run import Outcome, Run
from calque.training.start import start_from_model
from calque.training.validation import development
from calque.training.vectors import start_from_vectors
from calque.workers import spread

EVERYTHING = 10**9
# Options of `train` that are fields of the recipe, and their sections.
OPTIONS = {"valid": "data", "test": "data"} | dict.fromkeys(("start_from", "time", "seed", "threads"), "train")


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


class Named:
    """Hold the names by which a run is chosen; `languages` is like en-zh, None guesses them from the file's name."""

    def __init__(self, model: str, size: str, task: str, languages: str | None) -> None:
        self.model, self.size, self.task, self.languages = model, size, task, languages

    def choice(self, first_file: str) -> Choice:
        """Return the choice for data in `first_file`."""
        if self.languages is None:
            return Choice(self.model, self.size, self.task, guess_languages(first_file) or ("", ""))
        return Choice(self.model, self.size, self.task, language_pair(self.languages))


def make_request(
    data: Sequence[str],
    out: str | Path | None,
    named: Named,
    settings: Sequence[str],
    config: str | None = None,
    **common: Any,
) -> Request:
    """Join the layers that the user gave: file, then --set, then options of their own name."""
    if not data:
        raise UsageError("no data: give a file of pairs, or a source and a target file")
    layer: Layer = read_file(config) if config else {}
    layer = merge(layer, read_settings(settings))
    for name, section in OPTIONS.items():
        value = common.pop(name, None)
        if value is not None:
            layer = merge(layer, {section: {name: str(value) if isinstance(value, Path) else value}})
    if common:
        raise UsageError(f"train() has no option {next(iter(common))!r}")
    check_settings(layer)
    folder = Path(out) if out else Path("runs") / _run_name(data)
    choice = named.choice(data[0])
    check_names(choice)
    if origin_of(layer) and (choice.model, choice.size) != ("auto", "auto"):
        raise UsageError("--model and --size have no place beside --from: the parts are those of the model")
    return Request(tuple(data), folder, choice, layer)


def plan_training(request: Request, display: Display) -> Recipe:
    """Return the recipe that a run would have (--dry-run)."""
    return plan(request, display)


def run_training(request: Request, fresh: bool, display: Display, verbose: bool = False) -> Outcome | None:
    """Train, or go on training, in the run's folder; None where it was finished before.

    `verbose` tells every field of the recipe, not only those that were chosen.
    """
    for path in request.data:
        # Before the lock makes the folder: a misspelt name must not leave one behind.
        if path != "-" and not Path(path).exists():
            open_lines(path)
    with RunLock(request.out):
        prepared = prepare(request, fresh, display)
        if prepared.is_finished:
            limits = limits_of(prepared.recipe.train)
            display.note(f"{request.out} is finished; --fresh starts anew, a raised limit ({limits}) goes on")
            return None
        recipe = prepared.recipe
        for key, value in flatten(recipe.model_dump(mode="json")).items() if verbose else ():
            display.note(f"{key} = {value}")
        # Until the run is complete again, its weights are not those of the manifest.
        (request.out / "manifest.json").unlink(missing_ok=True)
        run = _run(request.out, prepared, display)
        if not run.resume():
            _start(recipe, prepared, run, display)
        outcome = run.train()
        if outcome.signal:
            return outcome
        display.note(f"{outcome.reason}; best at step {outcome.best_step:,}")
        _complete(request.out, recipe, prepared, run, display)
        return outcome


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
    *data: str | Path, other: str | Path | None = None, columns: Columns | Mapping[str, str] | None = None
) -> CheckReport:
    """Look for what is wrong with a data set; `other` is a test set that should share nothing with it.

    `columns` name those of both sets, such as {"source": "body"}.
    """
    columns = _columns(columns)
    dataset = open_dataset([str(path) for path in data], columns)
    return check_dataset(dataset, open_dataset([str(other)], columns) if other else None)


def fix(data: Sequence[str], out: str, columns: Columns | Mapping[str, str] | None = None) -> dict[str, int]:
    """Write a clean copy of a data set: without bad lines, blanks and exact duplicates; return the counts."""
    return dataclasses.asdict(fix_dataset(open_dataset(data, _columns(columns)), Path(out)))


def search_options(folder: str | Path, beam: int | None = None, n_best: int = 1) -> SearchConfig | None:
    """Return a model's own search settings with another beam or more outputs; None where nothing differs."""
    if beam is None and n_best == 1:
        return None
    own = validate_section(SearchConfig, read_sections(Path(folder)).get("search"), "search").model_dump()  # type: ignore[arg-type]
    width = beam if beam is not None else max(own["beam"], n_best)
    return validate_section(SearchConfig, own | {"beam": width, "n_best": n_best}, "search")


def own_columns(folder: str | Path) -> Columns:
    """Return the names of columns that a model was trained with."""
    return validate_section(Columns, read_sections(Path(folder))["data"].get("columns", {}), "data.columns")


def named_columns(settings: Sequence[str]) -> Columns:
    """Return the names of columns that settings hold; a check reads by no other part of a recipe."""
    layer = read_settings(settings)
    check_settings(layer)
    for key in flatten(layer):
        if not key.startswith("data.columns"):
            raise UsageError(f"--set {key}: a check takes only data.columns.source and data.columns.target")
    return _columns(layer.get("data", {}).get("columns"))


def say_place(predictor: Predictor, quiet: bool = False) -> None:
    """Tell the person at the terminal that a model runs on the GPU; the CPU goes without saying."""
    if predictor.device.type != "cpu" and not quiet:
        print(": ".join(place(gpu_name())), file=sys.stderr)  # noqa: T201


def use_threads(threads: int | None) -> None:
    """Set the number of CPU threads, the cores unless told."""
    if threads is not None and threads < 1:
        raise UsageError(f"--threads {threads}: at least 1 is needed")
    torch.set_num_threads(threads or len(os.sched_getaffinity(0)))


def _run(folder: Path, prepared: Prepared, display: Display) -> Run:
    recipe, text = prepared.recipe, prepared.text
    torch.set_num_threads(recipe.train.threads)
    torch.manual_seed(recipe.train.seed)
    model = build(recipe.model, text.source.vocab_size, text.target.vocab_size).to(recipe.train.device)
    count = sum(parameter.numel() for parameter in model.parameters())
    display.note(f"{recipe.model.encoder.kind} → {recipe.model.decoder.kind}, {count:,} parameters")
    dev = development(prepared.dev, text, task_metrics(recipe.task), recipe.data.max_length)
    options = recipe.search.model_copy(update={"beam": recipe.train.validation_beam, "n_best": 1})
    predictor = Predictor(model, text, options, recipe.task, recipe.data.max_length)

    def make_engine() -> tuple[Engine, str]:
        return choose_engine("auto", Opened(model, recipe.model, folder))

    return Run(folder, recipe.train, model, prepared.store, dev, predictor, make_engine, display)


def _start(recipe: Recipe, prepared: Prepared, run: Run, display: Display) -> None:
    """Put in place what a fresh model takes from elsewhere."""
    if recipe.train.start_from:
        start_from_model(Path(recipe.train.start_from), run.model, display.note)
    start_from_vectors(prepared.text, recipe.text, recipe.model, run.model, display.note)


def _complete(folder: Path, recipe: Recipe, prepared: Prepared, run: Run, display: Display) -> None:
    """Take the final scores with the best weights and the whole search, where they were trained; write what stays."""
    predictor = load(folder, device=recipe.train.device)
    metrics = task_metrics(recipe.task)
    display.note(f"scoring the best model with beam {recipe.search.beam}")
    with spread(predictor):
        found, outputs = score_examples(predictor, prepared.dev, metrics)
        scores = {"validation": found}
        if "test" in prepared.sets:
            test = development_sample(prepared.sets["test"], EVERYTHING)
            scores["test"], _ = score_examples(predictor, test, metrics)
    for data, part in scores.items():
        display.note(f"{data}: " + ", ".join(_score_line(score) for score in part))
    write_record(
        folder,
        {
            "status": "finished",
            "seconds": run.elapsed.seconds,
            "scores": {data: [score.as_dict() for score in part] for data, part in scores.items()},
        },
    )
    complete(folder, recipe, predictor, scores, samples(prepared.dev, outputs), run.elapsed.seconds)


def _score_line(score: Score) -> str:
    interval = "" if score.low is None else f" [{score.low:.2f}, {score.high:.2f}]"
    return f"{score.name} {score.value:.2f}{interval}"


def _run_name(data: Sequence[str]) -> str:
    if data[0] == "-":
        return "pipe"
    name = Path(data[0]).name
    for ending in (".gz", ".tsv", ".csv", ".jsonl", ".txt"):
        name = name.removesuffix(ending)
    return name or "pairs"


def _columns(columns: Columns | Mapping[str, str] | None) -> Columns:
    return columns if isinstance(columns, Columns) else validate_section(Columns, dict(columns or {}), "columns")


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)
