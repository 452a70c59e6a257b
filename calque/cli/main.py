"""The command line: one thin function a verb. Nothing heavy is imported before a verb needs it."""

import gc
import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Annotated, Any, NoReturn

import typer

from calque import __version__
from calque.cli.early import require_files, require_folder
from calque.cli.exchange import export_model, import_model
from calque.cli.options import AsJson, Data, Engine, EngineName, EnsembleSpace, Model, OutputForm, Quiet, Space, With
from calque.cli.unknown import refuse_unknown_command, unknown_option
from calque.errors import CalqueError
from calque.tasks.table import DEFAULT_TASK, TASKS

app = typer.Typer(
    name="calque",
    help="From a file of pairs to a trained, measured and served sequence-to-sequence model.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# Typer carries its own copy of click since 0.26 or leans on the library; either way this is the parent of its errors.
CommandLineError: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")


def _version(shown: bool) -> None:
    if shown:
        typer.echo(f"calque {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    os.environ["CALQUE_DEBUG"] = "1" if debug else os.environ.get("CALQUE_DEBUG", "")


@app.command()
def demo(
    out: Annotated[str, typer.Option(help="Folder of the run.")] = "runs/demo",
    fresh: Annotated[bool, typer.Option("--fresh", help="Start anew.")] = False,
    quiet: Quiet = False,
) -> None:
    """Train English→Chinese on built-in phrases, in minutes, without data or network."""
    from calque.demo.demo import run_demo

    _leave(run_demo(out, fresh, quiet, typer.echo))


@app.command()
def check(
    data: Data,
    other: Annotated[str | None, typer.Option("--against", help="A test set that should share nothing.")] = None,
    fix: Annotated[str | None, typer.Option(help="Write a clean copy to this file.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="A field of data.columns, or data.valid.")] = None,
    as_json: AsJson = False,
) -> None:
    """Find what is wrong with a file of pairs; exit code 3 where training would refuse it."""
    from calque.cli.common import data_settings

    columns, valid = data_settings(settings or [])
    require_files(*data, other, valid)
    from calque import api

    report = api.check(*data, other=other, columns=columns, valid=valid)
    fixed = api.fix(data, fix, columns) if fix else None
    if as_json:
        typer.echo(json.dumps(report.as_dict() | ({"fixed": fixed} if fixed else {}), ensure_ascii=False))
    else:
        for line in report.lines():
            typer.echo(line)
        if fixed:
            typer.echo(f"{fix}: " + ", ".join(f"{count:,} {what}" for what, count in fixed.items()))
    if report.is_refused:
        _leave(3)


@app.command()
def train(
    data: Data,
    valid: Annotated[str | None, typer.Option(help="Pairs to validate on; none: a tenth of the data.")] = None,
    test: Annotated[str | None, typer.Option(help="Pairs to score once training has ended.")] = None,
    out: Annotated[str | None, typer.Option(help="Folder of the run; default runs/<file name>.")] = None,
    model: Annotated[
        str, typer.Option(help="auto, basic-lstm, rnn, lstm, gru, transformer, fast, hybrid, pointer or graph.")
    ] = "auto",
    size: Annotated[str, typer.Option(help="auto, tiny, small or base.")] = "auto",
    start_from: Annotated[str | None, typer.Option("--from", help="A model folder to go on from.")] = None,
    time: Annotated[str | None, typer.Option(help="Stop after so long, such as 20m.")] = None,
    task: Annotated[str, typer.Option(help=f"{', '.join(TASKS)}, or FILE.py with a task of your own.")] = (
        DEFAULT_TASK
    ),
    languages: Annotated[str | None, typer.Option(help="Such as en-zh; default: from the file's name.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the run.")] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads; default: the cores.")] = None,
    config: Annotated[str | None, typer.Option(help="A TOML recipe.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE, such as train.lr=0.001.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start anew in a folder that holds a run.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and stop.")] = False,
    quiet: Quiet = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Tell every field of the recipe.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train a model on pairs; the same command again goes on where it stopped."""
    require_files(*data, valid, test)
    require_folder(*([start_from] if start_from else []))
    from calque.report.progress import display_for
    from calque.runs.request import Named, Options, make_request
    from calque.runs.session import plan_training, run_training

    named = Named(model, size, task, languages)
    options = Options(valid, test, start_from, time, seed, threads)
    request = make_request(data, out, named, settings or [], config, options)
    with display_for(sys.stderr, quiet) as display:
        if dry_run:
            recipe = plan_training(request, display)
            typer.echo(json.dumps(recipe.model_dump(mode="json"), indent=2, ensure_ascii=False))
            return
        outcome = run_training(request, fresh, display, verbose)
    if outcome and outcome.signal:
        typer.echo(f"saved in {request.out}; the same command goes on", err=True)
        _leave(128 + outcome.signal)
    if as_json:
        from calque import api

        typer.echo(json.dumps(api.info(request.out), ensure_ascii=False))
    elif not quiet:
        typer.echo(f'{request.out} is ready. Try: calque generate {request.out} "…"', err=True)


@app.command()
def generate(
    model: Model,
    text: Annotated[list[str] | None, typer.Argument(help="Texts; none or - reads lines from a pipe.")] = None,
    source: Annotated[str | None, typer.Option("--input", "-i", help="File of lines.")] = None,
    output: Annotated[str | None, typer.Option("--output", "-o", help="File to write.")] = None,
    beam: Annotated[int | None, typer.Option(help="Hypotheses kept; 1 is greedy.")] = None,
    n_best: Annotated[int, typer.Option("--n-best", help="Outputs for each line.")] = 1,
    scores: Annotated[bool, typer.Option("--scores", help="Write the score before each output.")] = False,
    form: Annotated[OutputForm, typer.Option("--format", help="How answers are written.")] = OutputForm.text,
    others: With = None,
    space: EnsembleSpace = Space.prob,
    tag: Annotated[str, typer.Option(help="Tag of every line, for a model trained with tags.")] = "",
    engine: Engine = EngineName.auto,
    exact: Annotated[bool, typer.Option("--exact", help="Each line in a batch of its own.")] = False,
    batch: Annotated[int, typer.Option(min=0, help="Lines at once; 0 chooses.")] = 0,
    threads: Annotated[int | None, typer.Option(help="CPU threads; default: the cores.")] = None,
    quiet: Quiet = False,
) -> None:
    """Answer texts, or the lines of a file or pipe: one line in, one line out."""
    from calque.errors import UsageError

    models = [model, *(others or [])]
    require_folder(*models)
    require_files(source)
    from calque.cli.generate import Writing, generate_lines, generate_texts

    chosen = "eager" if exact and engine is EngineName.auto else engine.value
    writing = Writing(beam, n_best, scores, form.value, 1 if exact else batch, tag, space.value, chosen)
    if text and source:
        raise UsageError("texts and --input both given: give one of them")
    if text and text != ["-"]:
        generate_texts(models, text, output, writing, threads, quiet)
    else:
        generate_lines(models, source, output, writing, threads, quiet)


@app.command(name="eval")
def evaluate(
    model: Model,
    data: Data,
    metric: Annotated[list[str] | None, typer.Option(help="bleu, chrf, ter, exact, cer, wer; repeatable.")] = None,
    tokenize: Annotated[str, typer.Option(help="Tokenizer of BLEU; none for text already tokenised.")] = "",
    beam: Annotated[int | None, typer.Option(help="Hypotheses kept; 1 is greedy.")] = None,
    others: With = None,
    space: EnsembleSpace = Space.prob,
    engine: Engine = EngineName.auto,
    threads: Annotated[int | None, typer.Option(help="CPU threads; default: the cores.")] = None,
    as_json: AsJson = False,
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
    found = api.evaluate(predictor, data, metric or (), tokenize, columns=own_columns(model), warn=_warn)
    if as_json:
        named = {"model": model} | ({"with": others} if others else {})
        typer.echo(json.dumps(named | {"data": data, "scores": [score.as_dict() for score in found]}))
        return
    for score in found:
        typer.echo(f"{score.name:6} {score.value:6.2f}   95 %: {score.low:.2f} to {score.high:.2f}   {score.signature}")


def _warn(sign: str) -> None:
    typer.echo(f"warning: {sign}", err=True)


@app.command()
def info(model: Model, as_json: AsJson = False) -> None:
    """Tell what a model folder holds."""
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
def recipe(
    key: Annotated[str | None, typer.Argument(help="A section or field, such as train.lr.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print every field of a recipe with its default and help."""
    from calque.recipe.layers import matching_fields

    rows = matching_fields(key or "")
    if as_json:
        typer.echo(json.dumps({name: {"default": default, "help": text} for name, default, text in rows}))
        return
    for name, default, text in rows:
        typer.echo(f"{name} = {default}\n    {text}")


app.command(name="export")(export_model)
app.command(name="import")(import_model)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line; errors of the user are one message, faults of calque a traceback."""
    # Torch alone makes a hundred thousand objects that stay: looking through them again and again costs half a second.
    gc.set_threshold(50_000, 20, 100)
    try:
        _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read has had enough; a second error at exit must not follow.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _leave(0)
    except KeyboardInterrupt:
        _leave(130)
    except MemoryError:
        typer.echo("calque: out of memory; a smaller --size, train.micro_batch_tokens or --batch takes less", err=True)
        _leave(4)
    except Exception:
        traceback.print_exc()
        typer.echo("calque: this is a fault of calque; please report it with the lines above", err=True)
        _leave(1)
    _leave(0)


def _run(arguments: Sequence[str] | None) -> None:
    try:
        # Not app(): it would end a closed pipe with exit code 1.
        command = typer.main.get_command(app)
        given = list(sys.argv[1:] if arguments is None else arguments)
        refuse_unknown_command(given, command.commands if isinstance(command, typer.core.TyperGroup) else ())
        with command.make_context("calque", given) as context:
            command.invoke(context)
    except typer.Exit as done:
        _leave(done.exit_code)
    except CalqueError as error:
        _report(error)
    except typer.Abort:
        _leave(130)
    except CommandLineError as error:
        unknown = unknown_option(error)
        if unknown is not None:
            _report(unknown)
        error.show()
        _leave(error.exit_code)


def _report(error: "CalqueError") -> NoReturn:
    if os.environ.get("CALQUE_DEBUG"):
        traceback.print_exc()
    typer.echo(f"calque: {error}", err=True)
    _leave(error.exit_code)


_leave: Callable[[int], NoReturn] = sys.exit
