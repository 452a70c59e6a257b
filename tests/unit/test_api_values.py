"""Values of Python in the verbs: settings as they are, data in memory, and calls that are interrupted."""

import json
import os
import signal
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_language import BRIEF, pairs, write_pairs

from calque import api
from calque.data.files.columns import Columns
from calque.errors import DataError, UsageError
from calque.recipe.layers import merge, read_settings, validate
from calque.recipe.values import settings_layer
from calque.report.progress import SilentDisplay
from calque.runs.prepare import plan
from calque.runs.request import Named, Options, make_request
from calque.training.config import TrainConfig

SETTINGS = read_settings([*BRIEF, "train.seed=3", "train.threads=1"])


class Frame:
    """Offer what calque uses of a DataFrame."""

    def __init__(self, **values: list[Any]) -> None:
        self.values = values
        self.columns = list(values)

    def __getitem__(self, name: str) -> list[Any]:
        return self.values[name]


@pytest.mark.parametrize(
    "settings",
    [
        {"text.source_vectors": "2024", "train.lr": 0.5, "task.metrics": ("cer",)},
        {"text": {"source_vectors": "2024"}, "train": {"lr": 0.5}, "task": {"metrics": ["cer"]}},
        {"train": TrainConfig(lr=0.5), "text": {"source_vectors": "2024"}, "task": {"metrics": ("cer",)}},
        {"text": {"source_vectors": Path("2024")}, "train.lr": 0.5, "task.metrics": ["cer"], "train.time": 0.02},
    ],
)
def test_settings_keep_their_values(settings: dict[str, Any]) -> None:
    """Take text that looks like a number as text, nested dictionaries as dotted keys, and paths as text."""
    request = make_request(["x.tsv"], None, Named("auto", "auto", "translation", None), settings_layer(settings))
    recipe = validate(request.settings)
    assert recipe.text.source_vectors == "2024"
    assert recipe.train.lr == 0.5
    assert recipe.task.metrics == ("cer",)


def test_dotted_and_nested_keys_join() -> None:
    """Lay one key beside the other, the later over the earlier."""
    layer = settings_layer({"model.encoder": {"width": 8, "layers": 1}, "model": {"encoder.width": 16}})
    assert layer == {"model": {"encoder": {"width": 16, "layers": 1}}}


@pytest.mark.parametrize("time", [0.5, 1, "30s", "0.5"])
def test_a_time_may_be_a_number_of_minutes(time: str | float) -> None:
    """Take a number as the command line takes it."""
    request = make_request(["x.tsv"], None, Named("auto", "auto", "translation", None), {}, None, Options(time=time))
    assert validate(request.settings).train.time == str(time)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train.lr": {1, 2}}, r"settings\['train.lr'\] is of type set"),
        ({"task.metrics": ["cer", b"bleu"]}, r"settings\['task.metrics'\]\[1\] is of type bytes"),
        ({"train": {"seed": object()}}, r"settings\['train'\]\['seed'\] is of type object"),
        ({3: 4}, "3 is not a key"),
        ({"train..lr": 4}, "not a key"),
        ({"train.lr": 4, "train.lr.x": 1}, "lr was already set to a value"),
        (["train.lr=4"], "settings is of type list"),
    ],
)
def test_settings_that_no_recipe_can_hold_are_refused(settings: Any, message: str) -> None:
    """Name the key and the type."""
    with pytest.raises(UsageError, match=message):
        api.train("x.tsv", settings=settings)


def test_data_may_be_in_memory(tmp_path: Path) -> None:
    """Train the same model from a file, a list of pairs, a generator and a table, and resume by content."""
    rows = list(dict.fromkeys(pairs(60)))
    file = tmp_path / "pairs.jsonl"
    api.train(write_pairs(file.with_suffix(".tsv"), 60), out=tmp_path / "file", model="gru", size="tiny", quiet=True,
              settings=SETTINGS)  # fmt: skip
    frame = Frame(source=[source for source, _ in pairs(60)], target=[target for _, target in pairs(60)])
    forms = {"pairs": pairs(60), "generator": (pair for pair in pairs(60)), "frame": frame}
    weights = {}
    for name, data in forms.items():
        api.train(data, out=tmp_path / name, model="gru", size="tiny", quiet=True, settings=SETTINGS)
        weights[name] = (tmp_path / name / "model.safetensors").read_bytes()
    assert set(weights.values()) == {(tmp_path / "file" / "model.safetensors").read_bytes()}
    again: dict[str, Any] = {"out": tmp_path / "pairs", "model": "gru", "size": "tiny", "quiet": True}
    api.train(frame, settings=SETTINGS, **again)
    with pytest.raises(UsageError, match="not the same as before"):
        api.train(rows[:-1], settings=SETTINGS, **again)
    by_pairs = api.evaluate(tmp_path / "pairs", rows, "exact")
    assert by_pairs == api.evaluate(tmp_path / "pairs", Frame(source=[s for s, _ in rows], target=[t for _, t in rows]),
                                    ["exact"])  # fmt: skip
    assert [score.name for score in by_pairs] == ["exact"]


def test_data_in_memory_leave_no_path_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Record the name and the hash of validation and test data in memory, and no file that is gone afterwards."""
    valid, test, other = (pairs(10, seed=seed) for seed in (3, 4, 5))
    file = write_pairs(tmp_path / "file.tsv", 10)
    settings = {**SETTINGS, "data": {"valid": str(file)}}
    call: dict[str, Any] = {"out": tmp_path / "run", "model": "gru", "size": "tiny", "settings": settings}
    api.train(pairs(60), valid=valid, test=iter(test), **call)
    printed = capsys.readouterr().err
    recipe, record = (json.loads((tmp_path / "run" / name).read_text()) for name in ("recipe.json", "run.json"))
    for found in (recipe, record["recipe"]):
        # The data in memory went before the file of the settings, which was not read either.
        assert (found["data"]["valid"], found["data"]["test"]) == (None, None)
    assert {role: data["name"] for role, data in record["data"].items()} == {
        "training": "pairs", "validation": "valid", "test": "test"}  # fmt: skip
    assert record["pairs"]["held out"] == 0
    everything = [path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()]
    gone = (tempfile.gettempdir() + "/calque-").encode()
    assert not any(gone in written for written in [*everything, printed.encode()])
    # The same data again, in another form, are the same run; other data, or none, are not.
    api.train(pairs(60), valid=[{"source": s, "target": t} for s, t in valid], test=test, **call)
    assert "is finished" in capsys.readouterr().err
    for role, changed in (("validation", {"valid": other}), ("validation", {"valid": None}), ("test", {"test": other})):
        with pytest.raises(UsageError, match=f"{role} data: not the same as before"):
            api.train(pairs(60), **{"valid": valid, "test": test, **call, **changed})


def test_a_run_with_validation_data_in_memory_resumes(tmp_path: Path) -> None:
    """Raise the limit of a run: the data in memory are read again, and the result is that of a run in one go."""
    call: dict[str, Any] = {"model": "gru", "size": "tiny", "quiet": True, "valid": pairs(10, seed=3)}
    brief = merge(SETTINGS, {"train": {"max_updates": 2, "schedule": "constant"}})
    longer = merge(SETTINGS, {"train": {"max_updates": 6, "schedule": "constant"}})
    api.train(pairs(60), out=tmp_path / "run", settings=brief, **call)
    api.train(pairs(60), out=tmp_path / "run", settings=longer, **call)
    api.train(pairs(60), out=tmp_path / "whole", settings=longer, **call)
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("run", "whole")]
    assert weights[0] == weights[1]
    assert json.loads((tmp_path / "run" / "recipe.json").read_text())["data"]["valid"] is None


def test_a_list_may_hold_several_right_answers_and_dictionaries() -> None:
    """Check data in memory as data in a file, columns of other names too."""
    report = api.check([("a", ["b", "c"]), {"source": "d", "target": "e"}])
    assert report.as_dict()["pairs"] == 3
    table = {"en": ["a", "b"], "zh": ["c", "d"]}
    assert api.check(table, columns={"source": "en", "target": "zh"}).as_dict()["pairs"] == 2
    assert api.check(Frame(**table), columns=Columns(source="en", target="zh")).as_dict()["pairs"] == 2


def test_graphs_several_sources_and_arrays_may_be_in_memory() -> None:
    """Take a graph whose keys are beside its target, sources by their names, and an array of right answers."""
    graph = {"nodes": ["a", "b"], "edges": [[0, 1, "to"]], "target": "x"}
    assert api.check([graph, ({"nodes": ["c"], "edges": []}, "y")]).as_dict()["pairs"] == 2
    answers = Frame(source=["a", "b"], target=[np.array(["x", "y"]), "z"])
    assert api.check(answers).as_dict()["pairs"] == 3
    columns = {"source": ["one", "two"], "target": "both"}
    assert api.check([({"one": "a", "two": "b"}, "a b"), {"one": "c", "two": "d", "both": "c d"}],
                     columns=columns).as_dict()["pairs"] == 2  # fmt: skip
    with pytest.raises(UsageError, match=r"data\[0\]\[0\] is of type str; it must be a dictionary with one, two"):
        api.check([("a", "b")], columns=columns)


def test_evaluate_reads_the_columns_that_the_model_was_trained_with(tmp_path: Path) -> None:
    """Read a file as the folder names its columns; `columns` name others."""
    rows = "".join(json.dumps({"en": source, "zh": target}) + "\n" for source, target in pairs(60))
    (tmp_path / "named.jsonl").write_text(rows, encoding="utf-8")
    settings = merge(SETTINGS, {"data": {"columns": {"source": "en", "target": "zh"}}})
    api.train(tmp_path / "named.jsonl", out=tmp_path / "run", model="gru", size="tiny", quiet=True, settings=settings)
    found = api.evaluate(tmp_path / "run", tmp_path / "named.jsonl", "exact")
    assert found == api.evaluate([tmp_path / "run"], tmp_path / "named.jsonl", "exact")
    other = (tmp_path / "named.jsonl").read_text().replace('"en"', '"english"')
    (tmp_path / "other.jsonl").write_text(other, encoding="utf-8")
    columns = {"source": "english", "target": "zh"}
    assert found == api.evaluate(tmp_path / "run", tmp_path / "other.jsonl", "exact", columns=columns)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([("a", "b"), ("c",)], r"data\[1\] has 1 items"),
        ([("a", "b"), 5], r"data\[1\] is of type int"),
        ([("a", 5)], r"data\[0\]\[1\] is of type int"),
        ([("a", ["b", None])], r"data\[0\]\[1\]\[1\] is of type NoneType"),
        ([("a", [])], r"data\[0\]\[1\] is an empty list"),
        ([(None, "b")], r"data\[0\]\[0\] is of type NoneType"),
        ([(b"a", "b")], r"data\[0\]\[0\] is of type bytes"),
        (b"a\tb", "data is of type bytes"),
        (bytearray(b"a\tb"), "data is of type bytearray"),
        ([("a", "b"), ({"nodes": [object()]}, "b")], r"data\[1\] cannot be written as JSON: .*object"),
        (5, "data is of type int"),
        (None, "data is of type NoneType"),
        (Frame(source=["a"], traget=["b"]), 'no column "target".*Did you mean "traget"'),
        (Frame(source=["a", float("nan")], target=["b", "c"]), r'data\["source"\]\[1\] is of type float \(nan\)'),
        (Frame(source=["a", "c"], target=["b"]), "unequal lengths: 2, 1"),
    ],
)
def test_wrong_data_name_argument_position_and_type(data: Any, message: str) -> None:
    """Refuse what is no text before anything is written."""
    with pytest.raises(UsageError, match=message):
        api.check(data)
    with pytest.raises(UsageError, match=message):
        api.train(data)


def test_no_pair_is_refused() -> None:
    """Name the argument."""
    for empty in ([], iter(()), Frame(source=[], target=[])):
        with pytest.raises(DataError, match="data is empty"):
            api.check(empty)


@pytest.mark.parametrize(("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_an_interrupted_call_raises_and_the_same_call_resumes(
    number: signal.Signals, raised: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Save, raise, and give the model that an uninterrupted call gives."""
    data, whole = pairs(60), tmp_path / "whole"
    call: dict[str, Any] = {"model": "gru", "size": "tiny", "quiet": True, "settings": SETTINGS}
    api.train(data, out=whole, **call)
    from calque.training.run import Run

    validate_run = Run._validate

    def interrupted(run: Run, *arguments: Any) -> None:
        validate_run(run, *arguments)
        os.kill(os.getpid(), number)

    assert threading.current_thread() is threading.main_thread()
    with monkeypatch.context() as patch:
        patch.setattr(Run, "_validate", interrupted)
        with pytest.raises(raised) as caught:
            api.train(data, out=tmp_path / "run", **call)
    assert raised is KeyboardInterrupt or caught.value.code == 143  # type: ignore[attr-defined]
    assert not (tmp_path / "run" / "manifest.json").exists()
    api.train(data, out=tmp_path / "run", **call)
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": 5}, "model is of type int"),
        ({"model": None}, "model is of type NoneType"),
        ({"metrics": 5}, "metrics is of type int"),
        ({"metrics": ["exact", 5]}, r"metrics\[1\] is of type int"),
        ({"metrics": None}, "metrics is of type NoneType"),
        ({"tokenize": 5}, "tokenize is of type int"),
        ({"batch_size": -1}, "batch_size is -1"),
        ({"batch_size": "a"}, "batch_size is 'a'"),
        ({"columns": 5}, "columns is of type int"),
        ({"task": 5}, "task is of type int"),
        ({"task": "transduction"}, "trained for translation"),
        ({"data": None}, "data is of type NoneType"),
        ({"data": [{"source": "a"}]}, r'data\[0\] has no "target"'),
    ],
)
def test_wrong_arguments_of_evaluate_are_refused(arguments: dict[str, Any], message: str, toy_model: Path) -> None:
    """Name the argument, the position in it and the type; a negative batch size would never end."""
    with pytest.raises(UsageError, match=message):
        api.evaluate(**{"model": toy_model, "data": [("one", "一")], **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": None}, "model is of type NoneType"),
        ({"size": 5}, "size is of type int"),
        ({"task": None}, "task is of type NoneType"),
        ({"languages": ("en", "zh")}, "languages is of type tuple"),
        ({"seed": 1.5}, r"train\.seed"),
        ({"time": -1}, r"train\.time"),
        ({"time": float("nan")}, r"train\.time"),
        ({"threads": object()}, r"train\.threads'\] is of type object"),
        ({"out": 5}, "out is of type int"),
        ({"valid": 5}, "valid is of type int"),
        ({"valid": ["a.tsv", "b.tsv"]}, "valid names 2 files"),
        ({"settings": 0}, "settings is of type int"),
        ({"fresh": "no"}, "fresh is of type str"),
    ],
)
def test_wrong_arguments_of_train_are_refused(arguments: dict[str, Any], message: str, tmp_path: Path) -> None:
    """Name the argument and the type before a folder is made; fresh="no" must not remove a run."""
    with pytest.raises(UsageError, match=message):
        api.train(pairs(60), **{"out": tmp_path / "run", **arguments})
    assert not (tmp_path / "run").exists()


def test_numbers_of_numpy_are_numbers() -> None:
    """Take a seed or a rate that was computed."""
    request = make_request(
        ["x.tsv"], None, Named("auto", "auto", "translation", None), {}, None, Options(seed=np.int64(3))
    )
    assert request.settings == {"train": {"seed": 3}}
    assert settings_layer({"train.lr": np.float32(0.5)}) == {"train": {"lr": 0.5}}


@pytest.mark.parametrize("width", ["32", 32, 32.0, np.int64(32)])
def test_a_number_that_is_written_as_text_counts_as_a_number(width: Any, tmp_path: Path) -> None:
    """Derive other defaults from a width that came as text, as `--set model.decoder.width='"32"'` gives it."""
    data, named = write_pairs(tmp_path / "x.tsv", 40), Named("gru", "tiny", "translation", None)
    recipes = [
        plan(make_request([str(data)], tmp_path / "run", named, settings_layer({"model.decoder.width": value})), False,
             SilentDisplay())
        for value in (width, 32)
    ]  # fmt: skip
    assert recipes[0] == recipes[1]
    assert recipes[0].train.lr == pytest.approx(0.002)


def test_a_table_that_gives_no_columns_is_refused() -> None:
    """Report a table whose columns cannot be read, such as one that is computed later."""

    class Lazy(Frame):
        def __getitem__(self, name: str) -> list[Any]:
            raise TypeError("not subscriptable")

    with pytest.raises(UsageError, match="data of type Lazy does not return its columns: not subscriptable"):
        api.check(Lazy(source=["a"], target=["b"]))
