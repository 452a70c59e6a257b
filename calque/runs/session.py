"""Start or continue a training run: from a request to a finished folder."""

from pathlib import Path

import torch

from calque.data.files.lines import open_lines
from calque.data.survey import EVERYTHING, development_sample
from calque.engines.choice import Opened, choose_engine
from calque.engines.engine import Engine
from calque.folder.best import WEIGHTS
from calque.folder.checkpoint import remove_strays
from calque.folder.lock import RunLock
from calque.folder.model_file import check_weights
from calque.folder.record import read_record, write_record
from calque.metrics.score import Score
from calque.model import build
from calque.predict.ensemble import load
from calque.predict.predictor import single
from calque.recipe.layers import flatten
from calque.recipe.tree import Recipe
from calque.report.progress import Display
from calque.runs.changes import limits_of
from calque.runs.finish import complete, samples, score_examples
from calque.runs.integrity import COMPLETION, check_recorded, is_complete
from calque.runs.prepare import Prepared, prepare
from calque.runs.request import Request
from calque.system.files import BLOCK, cannot_write, is_full, sha256_of
from calque.system.memory import limit_kernel_cache
from calque.system.signals import Interrupted, Interruption
from calque.tasks.kinds import task_metrics
from calque.training.run import Outcome, Run
from calque.training.starts.model import start_from_model
from calque.training.starts.vectors import start_from_vectors
from calque.training.validation import development


def run_training(request: Request, fresh: bool, display: Display, verbose: bool = False) -> Outcome | None:
    """Start or continue training in the run's folder; return None if the run was already finished.

    `verbose` prints every field of the recipe, not only those that were chosen.
    """
    limit_kernel_cache()
    for path in request.data:
        # Before the lock creates the folder: a misspelt file name must not leave a folder behind.
        if path != "-" and not Path(path).exists():
            open_lines(path)
    with RunLock(request.out), Interruption() as interruption:
        try:
            with interruption.raising():
                prepared = prepare(request, fresh, display)
                if prepared.is_finished:
                    _finished(request.out, prepared, display)
                    return None
                run = _started(request.out, prepared, display, verbose)
                with interruption.deferring():
                    outcome = run.train(interruption)
                if not outcome.signal:
                    display.note(f"{outcome.reason}; best at step {outcome.best_step:,}")
                    write_record(request.out, {"seconds": run.elapsed.seconds})
                    _complete(request.out, prepared, display)
                return outcome
        except Interrupted as interrupted:
            return Outcome("interrupted", 0, 0, None, interrupted.number)
        except OSError as error:
            if not is_full(error):
                raise
            raise cannot_write(Path(error.filename or request.out), error, BLOCK) from error


def _finished(folder: Path, prepared: Prepared, display: Display) -> None:
    """Check the model of a run that has ended, and write its report, card and manifest again if they are missing."""
    check_recorded(folder, "weights", WEIGHTS)
    if is_complete(folder):
        check_weights(folder)
        limits = limits_of(prepared.recipe.train)
        display.note(f"{folder} is finished. Raise a limit ({limits}) to continue, or start again with --fresh")
    else:
        check_recorded(folder, "metrics", "metrics.jsonl")
        _complete(folder, prepared, display)


def _started(folder: Path, prepared: Prepared, display: Display, verbose: bool) -> Run:
    """Return the run at its last checkpoint, or at its start."""
    recipe = prepared.recipe
    for key, value in flatten(recipe.model_dump(mode="json")).items() if verbose else ():
        display.note(f"{key} = {value}")
    # Until the run is complete again, its weights are not those of the manifest.
    for name in COMPLETION:
        (folder / name).unlink(missing_ok=True)
    run = _run(folder, prepared, display)
    if not run.resume():
        _start(recipe, prepared, run, display)
    return run


def _run(folder: Path, prepared: Prepared, display: Display) -> Run:
    recipe, text = prepared.recipe, prepared.text
    torch.set_num_threads(recipe.train.threads)
    torch.manual_seed(recipe.train.seed)
    model = build(recipe.model, text.source.vocab_size, text.target.vocab_size).to(recipe.train.device)
    count = sum(parameter.numel() for parameter in model.parameters())
    display.note(f"{recipe.model.encoder.kind} → {recipe.model.decoder.kind}, {count:,} parameters")
    dev = development(prepared.dev, text, task_metrics(recipe.task), recipe.data.max_length)
    options = recipe.search.model_copy(update={"beam": recipe.train.validation_beam, "n_best": 1})
    data = recipe.data
    predictor = single(model, text, options, recipe.task, data.max_length, data.too_long)

    def make_engine() -> tuple[Engine, str]:
        return choose_engine("auto", Opened(model, recipe.model, folder))

    return Run(folder, recipe.train, model, prepared.store, dev, predictor, make_engine, display)


def _start(recipe: Recipe, prepared: Prepared, run: Run, display: Display) -> None:
    """Copy weights from another model, and word vectors, into a new model."""
    if recipe.train.start_from:
        start_from_model(Path(recipe.train.start_from), run.model, display.note)
    start_from_vectors(prepared.text, recipe.text, recipe.model, run.model, display.note)


def _complete(folder: Path, prepared: Prepared, display: Display) -> None:
    """Score the best weights with the search of the recipe, and write report, card and manifest.

    The status "finished" is written last, so that the same command completes an interrupted run.
    """
    recipe = prepared.recipe
    predictor = load(folder, device=recipe.train.device)
    metrics = task_metrics(recipe.task)
    display.note(f"scoring the best model with beam {recipe.search.beam}")
    found, outputs = score_examples(predictor, prepared.dev, metrics)
    scores = {"validation": found}
    if "test" in prepared.sets:
        test = development_sample(prepared.sets["test"], EVERYTHING)
        scores["test"], _ = score_examples(predictor, test, metrics)
    for data, part in scores.items():
        display.note(f"{data}: " + ", ".join(_score_line(score) for score in part))
    seconds = (read_record(folder) or {}).get("seconds", 0.0)
    complete(folder, recipe, predictor, scores, samples(prepared.dev, outputs), seconds)
    remove_strays(folder)
    write_record(
        folder,
        {
            "status": "finished",
            "scores": {data: [score.as_dict() for score in part] for data, part in scores.items()},
            "weights": sha256_of(folder / WEIGHTS),
            "metrics": sha256_of(folder / "metrics.jsonl"),
        },
    )


def _score_line(score: Score) -> str:
    interval = "" if score.low is None else f" [{score.low:.2f}, {score.high:.2f}]"
    return f"{score.name} {score.value:.2f}{interval}"
