"""The user's request: data files, names, and the settings of all layers as one tree."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from calque.errors import UsageError, wrong_type
from calque.recipe.layers import Layer, check_settings, flatten, merge, read_file, read_settings
from calque.recipe.origin import origin_of
from calque.recipe.presets import Choice, check_names
from calque.recipe.renamed import renamed
from calque.recipe.values import settings_layer
from calque.tasks.from_file import find_task
from calque.tasks.kinds import language_pair
from calque.text.scripts import guess_languages

DATA_PATHS = ("data.valid", "data.test")


@dataclass(frozen=True)
class Options:
    """Options of `train` that are fields of the recipe, of `data` and of `train`; None leaves a field as it is."""

    valid: str | Path | None = None
    test: str | Path | None = None
    start_from: str | Path | None = None
    time: str | float | None = None
    seed: int | None = None
    threads: int | None = None

    def layer(self) -> Layer:
        """Return the options that were given, by section."""
        data, train = ("valid", "test"), ("start_from", "time", "seed", "threads")
        keys = {f"data.{name}": name for name in data} | {f"train.{name}": name for name in train}
        given = {key: getattr(self, name) for key, name in keys.items()}
        return settings_layer({key: value for key, value in given.items() if value is not None})


@dataclass(frozen=True)
class Request:
    """The user's request: files, names, settings of all layers, the folder of the run, notices to print.

    `in_memory` are the files of validation and test data that a caller holds in memory, by `valid` and `test`; they are
    removed after the call, so the settings do not name them.
    """

    data: tuple[str, ...]
    out: Path
    choice: Choice
    settings: Layer
    notices: tuple[str, ...] = ()
    in_memory: Mapping[str, str] = field(default_factory=dict)

    def file_of(self, name: str) -> str | None:
        """Return the file of the data `valid` or `test`, if there are any."""
        return self.in_memory.get(name) or self.settings.get("data", {}).get(name)


class Named:
    """Names of model, size and task; `languages` is like en-zh, None guesses them from the file's name."""

    def __init__(self, model: str, size: str, task: str | Path, languages: str | None) -> None:
        for name, value in (("model", model), ("size", size)):
            if not isinstance(value, str):
                raise wrong_type(name, value, "text")
        if not isinstance(languages, str | None):
            raise wrong_type("languages", languages, "text such as en-zh")
        self.model, self.size, self.task, self.languages = model, size, task, languages

    def choice(self, first_file: str) -> Choice:
        """Return the choice for data in `first_file`."""
        if self.languages is None:
            languages = guess_languages(first_file) or ("", "")
        else:
            languages = language_pair(self.languages)
        return Choice(self.model, self.size, find_task(self.task), languages)


def make_request(
    data: Sequence[str],
    out: str | Path | None,
    named: Named,
    settings: Sequence[str] | Layer,
    config: str | None = None,
    options: Options = Options(),
    in_memory: Mapping[str, str] | None = None,
) -> Request:
    """Join the layers that the user gave: file, then settings (of --set, or a layer), then options.

    `in_memory` are files of data that the caller holds in memory, by the name of the argument; they go before the files
    of the settings.
    """
    if not isinstance(out, str | Path | None):
        raise wrong_type("out", out, "the path of a folder")
    if not data:
        raise UsageError("no data: give a file of pairs, or a source and a target file")
    layer, notices = renamed(read_file(config) if config else {})
    later, more = renamed(settings if isinstance(settings, dict) else read_settings(settings))
    layer = merge(merge(layer, later), options.layer())
    check_settings(layer)
    replaced = {name: path for name, path in (in_memory or {}).items() if name != "data"}
    if replaced and "data" in layer:
        layer["data"] = {name: value for name, value in layer["data"].items() if name not in replaced}
    folder = Path(out) if out else Path("runs") / _run_name(data)
    choice = named.choice(data[0])
    check_names(choice)
    origin = origin_of(layer)
    if origin and origin.resolve() == folder.resolve():
        raise UsageError(f"the run would replace {origin}, the model to start from: name another folder with --out")
    if origin and (choice.model, choice.size) != ("auto", "auto"):
        raise UsageError("--model and --size cannot be combined with --from: the architecture is that of the model")
    return Request(tuple(data), folder, choice, layer, tuple(dict.fromkeys(notices + more)), replaced)


def describe(request: Request) -> dict[str, Any]:
    """Return the request as flat keys, to be compared with the next command for the same folder."""
    task = request.choice.task
    name = f"{task.name} of {task.file}, SHA-256 {task.sha256}" if task.file else task.name
    named: Layer = {"model": request.choice.model, "size": request.choice.size, "task": name}
    languages = "-".join(request.choice.languages)
    # Data files are compared by content, not by path.
    settings = {key: value for key, value in flatten(request.settings).items() if key not in DATA_PATHS}
    return json.loads(json.dumps({**named, "languages": languages, **settings}))  # type: ignore[no-any-return]


def _run_name(data: Sequence[str]) -> str:
    if data[0] == "-":
        return "pipe"
    name = Path(data[0]).name
    for ending in (".gz", ".tsv", ".csv", ".jsonl", ".txt"):
        name = name.removesuffix(ending)
    # A name of dots would be the folder of all runs, or the one above it.
    return name.lstrip(".") or "pairs"
