"""The command line: one thin function per command. Nothing heavy is imported before a command needs it."""

import gc
import json
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

import typer

from calque.cli import options as given
from calque.cli.compare import compare_systems
from calque.cli.early import require_files, require_folder
from calque.cli.endings import discard_output, fault, leave, open_closed_streams, report_error
from calque.cli.exchange import export_model, import_model
from calque.cli.options import EngineName, OutputForm, Space
from calque.cli.unknown import refuse_unknown_command, unknown_option
from calque.errors import CalqueError, UsageError
from calque.system.files import is_full
from calque.system.signals import Interrupted, Interruption
from calque.tasks.table import DEFAULT_TASK

app = typer.Typer(
    name="calque",
    help="From a file of pairs to a trained, measured and served sequence-to-sequence model.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# Typer contains a copy of click since 0.26 and imported it before; this is the base class of its errors in both cases.
CommandLineError: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")


@app.callback()
def _root(
    version: given.Version = False,
    debug: given.Debug = False,
) -> None:
    os.environ["CALQUE_DEBUG"] = "1" if debug else os.environ.get("CALQUE_DEBUG", "")


@app.command()
def demo(
    out: Annotated[str, typer.Option(help="Folder of the run.")] = "runs/demo",
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete the run in the folder and start again.")] = False,
    quiet: given.Quiet = False,
) -> None:
    """Train English→Chinese on built-in phrases, in minutes, without data or network."""
    from calque.demo.demo import run_demo

    leave(run_demo(out, fresh, quiet, typer.echo))


@app.command()
def check(
    data: given.Data,
    other: Annotated[str | None, typer.Option("--against", help="A test set that should share no source.")] = None,
    fix: Annotated[str | None, typer.Option(help="Write a clean copy to this file.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="A field of data.columns, or data.valid.")] = None,
    task: given.TaskName = DEFAULT_TASK,
    as_json: given.AsJson = False,
) -> None:
    """Report the problems of a file of pairs; the exit code is 3 if training would refuse it."""
    require_files(*data, other)
    from calque.cli.common import data_settings, require_pairs

    columns, valid = data_settings(settings or [])
    require_files(valid)
    from calque import api

    if fix:
        require_pairs(task)
    report = api.check(*data, other=other, columns=columns, valid=valid, task=task)
    fixed = api.fix(data, fix, columns) if fix else None
    if as_json:
        typer.echo(json.dumps(report.as_dict() | ({"fixed": fixed} if fixed else {}), ensure_ascii=False))
    else:
        for line in report.lines():
            typer.echo(line)
        if fixed:
            left_out = f"{fixed['bad']:,} bad, {fixed['blank']:,} with an empty side, {fixed['duplicates']:,} repeated"
            typer.echo(f"{fix}: {fixed['kept']:,} pairs; left out: {left_out}")
    if report.is_refused:
        leave(3)


@app.command()
def train(
    data: given.Data,
    valid: given.Valid = None,
    test: given.Test = None,
    out: given.RunFolder = None,
    model: given.Architecture = "auto",
    size: given.SizeName = "auto",
    start_from: given.StartFrom = None,
    time: given.Time = None,
    task: given.TaskName = DEFAULT_TASK,
    languages: given.Languages = None,
    seed: given.Seed = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads; default: one for each core.")] = None,
    config: given.ConfigFile = None,
    settings: given.Settings = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete the run in the folder and start again.")] = False,
    dry_run: given.DryRun = False,
    quiet: given.Quiet = False,
    verbose: given.Verbose = False,
    as_json: given.AsJson = False,
) -> None:
    """Train a model on pairs; the same command again continues where it stopped."""
    require_files(*data, valid, test)
    require_folder(*([start_from] if start_from else []))
    from calque.report.progress import display_for
    from calque.runs.prepare import plan
    from calque.runs.request import Named, Options, make_request
    from calque.runs.session import run_training

    named = Named(model, size, task, languages)
    options = Options(valid, test, start_from, time, seed, threads)
    request = make_request(data, out, named, settings or [], config, options)
    with display_for(sys.stderr, quiet) as display:
        if dry_run:
            recipe = plan(request, fresh, display)
            typer.echo(json.dumps(recipe.model_dump(mode="json"), indent=2, ensure_ascii=False))
            return
        outcome = run_training(request, fresh, display, verbose)
    if outcome and outcome.signal:
        where = f"saved at step {outcome.step:,} in {request.out}" if outcome.step else "interrupted"
        typer.echo(f"{where}; the same command continues", err=True)
        leave(128 + outcome.signal)
    if as_json:
        from calque import api

        typer.echo(json.dumps(api.info(request.out), ensure_ascii=False))
    elif not quiet:
        typer.echo(f"the model is in {request.out}. Next: calque generate {request.out} TEXT", err=True)


@app.command()
def generate(
    model: given.Model,
    text: given.Texts = None,
    source: given.InputFile = None,
    output: given.OutputFile = None,
    beam: given.Beam = None,
    n_best: given.NBest = 1,
    scores: given.Scores = False,
    form: given.Form = OutputForm.text,
    others: given.With = None,
    space: given.EnsembleSpace = Space.prob,
    tag: given.Tag = "",
    engine: given.Engine = EngineName.auto,
    exact: given.Exact = False,
    batch: given.BatchLines = 0,
    threads: given.Threads = None,
    quiet: given.Quiet = False,
) -> None:
    """Answer texts, or the lines of a file or pipe: one output line for each input line."""
    models = [model, *(others or [])]
    require_folder(*models)
    require_files(source)
    from calque.cli.generate import Writing, generate_lines, generate_texts

    chosen = "eager" if exact and engine is EngineName.auto else engine.value
    writing = Writing(beam, n_best, scores, form.value, 1 if exact else batch, tag, space.value, chosen)
    if text and source:
        raise UsageError("both texts and --input were given: give only one of them")
    if text and text != ["-"]:
        generate_texts(models, text, output, writing, threads, quiet)
    else:
        generate_lines(models, source, output, writing, threads, quiet)


@app.command(name="eval")
def evaluate(
    model: given.Model,
    data: given.Data,
    metric: given.MetricNames = None,
    tokenize: given.TokenizeName = "",
    task: given.OwnTask = None,
    beam: given.Beam = None,
    others: given.With = None,
    space: given.EnsembleSpace = Space.prob,
    engine: given.Engine = EngineName.auto,
    threads: given.Threads = None,
    as_json: given.AsJson = False,
) -> None:
    """Score a model on pairs, with 95 % confidence intervals."""
    models = [model, *(others or [])]
    require_folder(*models)
    require_files(*data)
    from calque import api
    from calque.cli.common import say_place, use_threads
    from calque.recipe.stored import own_columns

    use_threads(threads)
    predictor = api.load(models, beam=beam, space=space.value, engine=engine.value)
    say_place(predictor)
    if engine is not EngineName.auto:
        typer.echo(predictor.engine_said, err=True)
    found = api.evaluate(predictor, data, metric or (), tokenize, columns=own_columns(model), task=task, warn=_warn)
    if as_json:
        named = {"model": model} | ({"with": others} if others else {})
        typer.echo(json.dumps(named | {"data": data, "scores": [score.as_dict() for score in found]}))
        return
    for score in found:
        typer.echo(f"{score.name:6} {score.value:6.2f}   95 %: {score.low:.2f} to {score.high:.2f}   {score.signature}")


def _warn(sign: str) -> None:
    typer.echo(f"warning: {sign}", err=True)


@app.command()
def info(model: given.Model, as_json: given.AsJson = False) -> None:
    """Describe the model in a folder."""
    require_folder(model)
    from calque import api

    facts = api.info(model)
    if as_json:
        typer.echo(json.dumps(facts, ensure_ascii=False))
        return
    width = max(map(len, facts))
    for name, value in facts.items():
        typer.echo(f"{name:{width}}  {value}")


@app.command()
def recipe(key: given.FieldName = None, as_json: given.AsJson = False) -> None:
    """Print every field of a recipe with its default and help."""
    from calque.recipe.layers import matching_fields

    rows = matching_fields(key or "")
    if as_json:
        typer.echo(json.dumps({name: {"default": default, "help": text} for name, default, text in rows}))
        return
    for name, default, text in rows:
        typer.echo(f"{name} = {default}\n    {text}")


app.command(name="compare")(compare_systems)
app.command(name="export")(export_model)
app.command(name="import")(import_model)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line: print a message for a user's error, and a traceback for a bug in calque."""
    # Torch creates a hundred thousand permanent objects; collecting garbage among them repeatedly takes half a second.
    gc.set_threshold(50_000, 20, 100)
    open_closed_streams()
    try:
        # SIGTERM ends the command like Ctrl-C, so that partly written files are removed.
        with Interruption() as interruption, interruption.raising():
            _run(arguments)
            sys.stdout.flush()
    except BrokenPipeError:
        discard_output()
        leave(0)
    except OSError as error:
        if not is_full(error):
            fault()
        discard_output()
        place = error.filename or "the output"
        typer.echo(f"calque: cannot write {place}: {error.strerror}. Free some space and run it again", err=True)
        leave(4)
    except Interrupted as interrupted:
        leave(128 + interrupted.number)
    except KeyboardInterrupt:
        leave(130)
    except MemoryError:
        typer.echo("calque: out of memory; use a smaller --size, train.micro_batch_tokens or --batch", err=True)
        leave(4)
    except Exception:
        fault()
    leave(0)


def _run(arguments: Sequence[str] | None) -> None:
    try:
        # Not app(): it would end a closed pipe with exit code 1.
        command = typer.main.get_command(app)
        words = list(sys.argv[1:] if arguments is None else arguments)
        refuse_unknown_command(words, command.commands if isinstance(command, typer.core.TyperGroup) else ())
        with command.make_context("calque", words) as context:
            command.invoke(context)
    except typer.Exit as done:
        leave(done.exit_code)
    except CalqueError as error:
        report_error(error)
    except typer.Abort:
        leave(130)
    except CommandLineError as error:
        if (unknown := unknown_option(error)) is not None:
            report_error(unknown)
        error.show()
        leave(error.exit_code)
