"""The command `calque compare`."""

import json

import typer

from calque.cli import options as given
from calque.cli.early import require_files


def compare_systems(
    first: given.System,
    second: given.System,
    data: given.Data,
    metric: given.MetricNames = None,
    tokenize: given.TokenizeName = "",
    task: given.ComparedTask = None,
    training: given.TrainingData = None,
    threads: given.Threads = None,
    as_json: given.AsJson = False,
) -> None:
    """Compare two models, or files of outputs, on the same pairs: which is better, and where."""
    require_files(*data, training)
    from calque import api
    from calque.cli.common import use_threads
    from calque.inspection.lines import as_object, lines

    use_threads(threads)
    found = api.compare(first, second, data, metric or (), tokenize, task=task, training=training)
    typer.echo(json.dumps(as_object(found), ensure_ascii=False) if as_json else "\n".join(lines(found)))
