"""`calque train` as a user meets it: every form of data, the same command again, and what it refuses."""

import gzip
import json
import shutil
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from toy_language import BRIEF, LEARNING, Finished, pairs, settings, train_command, write_pairs

import calque
from calque import api
from calque.model import Seq2Seq
from calque.recipe.stored import search_options

Command = Callable[..., Finished]
FOLDER = {"model.safetensors", "recipe.json", "metrics.jsonl", "timing.jsonl", "run.json", "README.md", "report.html"}


def files_in(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder with its content."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def brief_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return data and folder of a finished run of four updates; tests work on copies."""
    from calque.cli.main import main

    folder = tmp_path_factory.mktemp("brief")
    data = write_pairs(folder / "digits.en-zh.tsv")
    with pytest.raises(SystemExit):
        main([*train_command(data, folder / "run"), "--quiet"])
    return data, folder / "run"


@pytest.fixture
def copied(brief_run: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path]:
    """Return the data and a copy of the finished run."""
    data, run = brief_run
    return data, Path(shutil.copytree(run, tmp_path / "run"))


def write_forms(folder: Path, form: str) -> list[str]:
    """Write the toy pairs in one of the forms; return the names to train on."""
    made = pairs(120)
    tsv = "".join(f"{source}\t{target}\n" for source, target in made)
    match form:
        case "tsv":
            (folder / "x.en-zh.tsv").write_text(tsv)
        case "gzip":
            (folder / "x.en-zh.tsv.gz").write_bytes(gzip.compress(tsv.encode()))
            return ["x.en-zh.tsv.gz"]
        case "csv":
            rows = "".join(f'"{source}",{target}\n' for source, target in made)
            (folder / "x.en-zh.csv").write_text("source,target\n" + rows)
            return ["x.en-zh.csv"]
        case "jsonl":
            lines = [json.dumps({"source": source, "target": target}, ensure_ascii=False) for source, target in made]
            (folder / "x.en-zh.jsonl").write_text("\n".join(lines) + "\n")
            return ["x.en-zh.jsonl"]
        case "two files":
            for index, ending in enumerate(("en", "zh")):
                (folder / f"x.{ending}").write_text("".join(f"{pair[index]}\n" for pair in made))
            return ["x.en", "x.zh"]
    return ["x.en-zh.tsv"]


@pytest.mark.parametrize("form", ["tsv", "gzip", "csv", "jsonl", "two files"])
def test_every_form_of_data_trains_the_same_model(
    form: str, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Detect the form, print it, and train on the same pairs from every form."""
    monkeypatch.chdir(tmp_path)
    names = write_forms(tmp_path, form)
    options = train_command(names[0], Path("run"))[2:]
    done = command("train", *names, *options, "--languages", "en-zh")
    assert done.code == 0, done.err
    said = {"tsv": "TSV", "gzip": "TSV, gzipped", "csv": "CSV", "jsonl": "JSONL", "two files": "two plain files"}[form]
    assert f": {said}\n" in done.err
    assert files_in(tmp_path / "run").keys() >= FOLDER
    reference = write_pairs(tmp_path / "reference.tsv", 120)
    command(*train_command(reference, tmp_path / "other"), "--languages", "en-zh", "--quiet")
    assert (tmp_path / "run/model.safetensors").read_bytes() == (tmp_path / "other/model.safetensors").read_bytes()


def test_a_pipe_trains_and_the_same_command_knows_it_again(tmp_path: Path, command: Command) -> None:
    """Spool standard input; the same bytes are the same data, others are refused."""
    data = write_pairs(tmp_path / "x.tsv", 120).read_bytes()
    arguments = train_command("-", tmp_path / "run")
    assert "from a pipe" in command(*arguments, stdin=data).err
    again = command(*arguments, stdin=data)
    assert again.code == 0
    assert "is finished" in again.err
    other = command(*arguments, stdin=data + b"one\t\xe4\xb8\x80\n")
    assert other.code == 2
    assert "training data: not the same" in other.err


def test_the_default_folder_is_named_after_the_file(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Train into runs/NAME, beside nothing else, and take the languages from the name."""
    monkeypatch.chdir(tmp_path)
    write_pairs(tmp_path / "digits.en-zh.tsv")
    arguments = [part for part in train_command("digits.en-zh.tsv", Path("OUT")) if part not in ("--out", "OUT")]
    assert command(*arguments).code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"digits.en-zh.tsv", "runs", "standard-input"}
    assert json.loads((tmp_path / "runs/digits.en-zh/recipe.json").read_text())["task"]["target_language"] == "zh"


def test_the_same_command_on_a_finished_run_says_so(copied: tuple[Path, Path], command: Command) -> None:
    """Exit 0 and change no byte of the model."""
    data, run = copied
    before = (run / "model.safetensors").read_bytes()
    done = command(*train_command(data, run))
    assert done.code == 0
    assert "is finished" in done.err
    assert (run / "model.safetensors").read_bytes() == before


def test_differing_settings_are_refused_with_the_ways_out(copied: tuple[Path, Path], command: Command) -> None:
    """List each difference with both values, name --out and --fresh, and change nothing."""
    data, run = copied
    before = files_in(run)
    done = command(*train_command(data, run, (*BRIEF, "train.lr=0.5", "model.encoder.layers=2")))
    assert done.code == 2
    assert "train.lr: 0.01 before, 0.5 now" in done.err
    assert "model.encoder.layers: None before, 2 now" in done.err
    assert "--out" in done.err
    assert "--fresh" in done.err
    assert len(done.err.partition("calque: ")[2].splitlines()) <= 6
    assert files_in(run) == before


def test_other_data_are_refused(copied: tuple[Path, Path], command: Command, tmp_path: Path) -> None:
    """Recognise data by their content: a run continues with a moved file, but not with a changed one."""
    data, run = copied
    moved = tmp_path / "elsewhere.en-zh.tsv"
    moved.write_bytes(data.read_bytes())
    assert command(*train_command(moved, run)).code == 0
    moved.write_bytes(data.read_bytes() + b"one\t\xe4\xb8\x80\n")
    refused = command(*train_command(moved, run))
    assert refused.code == 2
    assert "training data" in refused.err


def test_a_raised_limit_goes_on(copied: tuple[Path, Path], command: Command) -> None:
    """Continue a finished run to the new limit from its last checkpoint, and say what changes."""
    data, run = copied
    done = command(*train_command(data, run, (*BRIEF, "train.max_updates=7")))
    assert done.code == 0, done.err
    assert "train.max_updates is now 7" in done.err
    assert "resumed from step-000004" in done.err
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if row["kind"] == "train"] == [1, 2, 3, 4, 5, 6, 7]
    assert json.loads((run / "recipe.json").read_text())["train"]["max_updates"] == 7


def test_a_limit_that_is_no_longer_given_is_lifted(copied: tuple[Path, Path], command: Command) -> None:
    """Go on to the end once --time is left out; keep what else was set, and say nothing of it."""
    data, run = copied
    plain = tuple(setting for setting in BRIEF if not setting.startswith("train.max_updates"))
    ended = command(*train_command(data, run, (*plain, "train.max_epochs=2")), "--time", "0.01s", "--fresh")
    assert ended.code == 0, ended.err
    assert "reached the time limit of 0.01s" in ended.err
    again = command(*train_command(data, run, (*plain, "train.max_epochs=2")), "--time", "0.01s")
    assert "is finished. Raise a limit (--time 0.01s, train.max_epochs 2) to continue, or start again" in again.err
    done = command(*train_command(data, run, plain))
    assert done.code == 0, done.err
    assert "train.time is now ''" in done.err
    assert "train.max_epochs is now" not in done.err
    assert "reached 2 epochs" in done.err
    recipe = json.loads((run / "recipe.json").read_text())["train"]
    assert (recipe["time"], recipe["max_epochs"]) == ("", 2)


def test_other_threads_leave_a_finished_run_finished(copied: tuple[Path, Path], command: Command) -> None:
    """A change that trains nothing more is no reason to score the run again."""
    data, run = copied
    done = command(*train_command(data, run), "--threads", "2")
    assert done.code == 0, done.err
    assert "is finished" in done.err
    assert "resumed" not in done.err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["--set", "train.parallel=threads"], "train.parallel is now 'threads'"),
        (["--threads", "2"], "train.threads is now 2"),
    ],
)
def test_an_update_may_be_shared_otherwise_from_now_on(
    change: list[str], said: str, copied: tuple[Path, Path], command: Command
) -> None:
    """A run continues on the same batches with fewer cores, or without the memory for processes."""
    data, run = copied
    done = command(*train_command(data, run, (*BRIEF, "train.max_updates=6")), *change)
    assert done.code == 0, done.err
    assert f"{said}; the data keep their order, but the result is no longer the same bit for bit" in done.err
    assert "resumed from step-000004" in done.err
    whole = run.with_name("whole")
    assert command(*train_command(data, whole, (*BRIEF, "train.max_updates=6"))).code == 0
    tokens, expected = (
        [
            row["tokens"]
            for row in map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
            if "tokens" in row
        ]
        for folder in (run, whole)
    )
    assert tokens == expected
    assert len(set(expected)) > 1


def test_fresh_starts_again_and_keeps_other_files(copied: tuple[Path, Path], command: Command) -> None:
    """Take other settings in the same folder with --fresh; what calque did not write stays."""
    data, run = copied
    (run / "notes.txt").write_text("mine")
    done = command(*train_command(data, run, (*BRIEF, "train.lr=0.003")), "--fresh")
    assert done.code == 0, done.err
    assert json.loads((run / "recipe.json").read_text())["train"]["lr"] == 0.003
    assert (run / "notes.txt").read_text() == "mine"


def test_dry_run_shows_the_recipe_and_writes_nothing(tmp_path: Path, command: Command) -> None:
    """Print the whole recipe as JSON, its reasons beside it, and leave the disk alone."""
    data = write_pairs(tmp_path / "digits.en-zh.tsv")
    before = {path.name for path in tmp_path.iterdir()}
    done = command(*train_command(data, tmp_path / "run"), "--dry-run")
    assert done.code == 0, done.err
    recipe = json.loads(done.out)
    assert recipe["model"]["encoder"]["kind"] == "gru"
    assert recipe["train"]["max_updates"] == 4
    assert " epochs: " in done.err
    assert {path.name for path in tmp_path.iterdir()} - {"standard-input"} == before


def test_json_is_one_object_on_standard_output(copied: tuple[Path, Path], command: Command) -> None:
    """Keep standard output for the object; --quiet keeps the other stream empty as well."""
    data, run = copied
    done = command(*train_command(data, run, (*BRIEF, "train.max_updates=5")), "--json", "--quiet")
    assert done.code == 0
    assert json.loads(done.out)["folder"] == str(run)
    assert done.err == ""


def test_quiet_says_nothing_but_errors(tmp_path: Path, command: Command) -> None:
    """Write neither progress nor results, yet the error."""
    data = write_pairs(tmp_path / "x.tsv")
    done = command(*train_command(data, tmp_path / "run"), "--quiet")
    assert (done.code, done.out, done.err) == (0, "", "")
    wrong = command(*train_command(data, tmp_path / "run", (*BRIEF, "train.lr=0.5")), "--quiet")
    assert wrong.code == 2
    assert wrong.err.startswith("calque: ")


def test_run_json_says_how_to_repeat_the_run(copied: tuple[Path, Path], command: Command, tmp_path: Path) -> None:
    """Hold recipe, hashes of the data, versions, seed and threads; the same command elsewhere gives the same bytes."""
    data, run = copied
    record = json.loads((run / "run.json").read_text())
    assert record["recipe"]["train"]["seed"] == record["seed"] == 3
    assert record["threads"] == 1
    assert len(record["data"]["training"]["sha256"]) == 64
    assert {"calque", "torch", "sentencepiece", "python"} <= record["versions"].keys()
    assert command(*train_command(data, tmp_path / "again")).code == 0
    for name in ("model.safetensors", "metrics.jsonl", "recipe.json"):
        assert (tmp_path / "again" / name).read_bytes() == (run / name).read_bytes(), name


def test_a_validation_scores_the_weights_of_its_moment(tmp_path: Path, command: Command) -> None:
    """The saved model has the score of the best validation, with every engine."""
    data, valid = write_pairs(tmp_path / "digits.en-zh.tsv", 400), write_pairs(tmp_path / "valid.tsv", 50, seed=9)
    changed = ("train.max_updates=60", "train.validate_every=20", "train.validation_sentences=50", "train.lr=0.003")
    values = (*BRIEF, *changed, 'task.metrics=["chrf"]')
    named = ["--model", "transformer", "--size", "tiny", "--threads", "1", "--valid", str(valid)]
    done = command("train", data, "--out", tmp_path / "run", *named, *settings(values))
    assert done.code == 0, done.err
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    scores = [row["scores"]["chrf"] for row in rows if row["kind"] == "valid"]
    assert len(set(scores)) == 3
    (best,) = [row["scores"]["chrf"] for row in rows if row["kind"] == "valid" and row["best"]][-1:]
    model = api.load(tmp_path / "run", search_options(tmp_path / "run", beam=1), engine="eager")
    (score,) = api.evaluate(model, valid)
    assert score.value == pytest.approx(best)


def test_another_seed_gives_another_model(copied: tuple[Path, Path], command: Command, tmp_path: Path) -> None:
    """Show that equal bytes above are no accident of an unused seed."""
    data, run = copied
    assert command(*train_command(data, tmp_path / "again"), "--seed", 4).code == 0
    assert (tmp_path / "again/model.safetensors").read_bytes() != (run / "model.safetensors").read_bytes()


def test_the_toy_model_has_learned(toy_model: Path, toy_data: Path, command: Command) -> None:
    """End with a good score in run.json, the card and the report; the data's text stays out of the first two."""
    record = json.loads((toy_model / "run.json").read_text())
    scores = {score["name"]: score for score in record["scores"]["validation"]}
    assert scores["chrf"]["low"] <= scores["chrf"]["value"] <= scores["chrf"]["high"]
    assert scores["chrf"]["value"] > 60
    assert f"{scores['bleu']['value']:.2f}" in (toy_model / "README.md").read_text()
    assert "<svg" in (toy_model / "report.html").read_text()
    again = command(*train_command(toy_data, toy_model, LEARNING), *settings(()))
    assert "is finished" in again.err


def test_few_functions_stand_between_the_command_and_the_model(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader of the code follows `train` to the model's forward through at most six functions."""
    package = str(Path(calque.__file__).parent)
    stacks: list[list[str]] = []
    forward = Seq2Seq.forward

    def watched(self: Seq2Seq, *batch: Any) -> Any:
        frames = [frame for frame in traceback.extract_stack() if frame.filename.startswith(package)]
        own = [frame.name for frame in frames if frame.filename != str(Path(package) / "model.py")]
        # Between `train` of the command line and the model: neither is counted.
        stacks.append(own[own.index("train") + 1 :])
        return forward(self, *batch)

    monkeypatch.setattr(Seq2Seq, "forward", watched)
    data = write_pairs(tmp_path / "digits.en-zh.tsv")
    assert command(*train_command(data, tmp_path / "run"), "--threads", 1).code == 0
    assert stacks
    assert max(map(len, stacks)) <= 6, " ".join(stacks[0])
