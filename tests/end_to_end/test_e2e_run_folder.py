"""Law 18: absence of a file never means "new". The same command completes a run or refuses; no model is overwritten."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from toy_language import BRIEF, Finished, train_command, write_pairs

from calque.runs import integrity

Command = Callable[..., Finished]
COMPLETION = ("report.html", "README.md", "manifest.json")


def content(folder: Path) -> dict[str, bytes]:
    """Return what a run's folder holds that does not depend on the time of day."""
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    times = (
        "timing.jsonl",
        "run.json",
        "report.html",
        "README.md",
        "lock",
        "state.json",
        "2/manifest.json",
        "4/manifest.json",
    )
    return {name: path.read_bytes() for name, path in files.items() if not name.endswith(times)}


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return data and folder of a finished run of four updates; tests work on copies."""
    from calque.cli.main import main

    folder = tmp_path_factory.mktemp("finished")
    data = write_pairs(folder / "digits.en-zh.tsv")
    with pytest.raises(SystemExit):
        main([*train_command(data, folder / "run"), "--quiet"])
    return data, folder / "run"


@pytest.fixture
def copied(finished_run: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path]:
    """Return the data and a copy of the finished run."""
    data, run = finished_run
    return data, Path(shutil.copytree(run, tmp_path / "run"))


def longer(data: Path, run: Path) -> list[str]:
    """Return the command with a raised limit."""
    plain = tuple(setting for setting in BRIEF if not setting.startswith("train.max_updates"))
    return train_command(data, run, (*plain, "train.max_updates=6"))


def interrupt(run: Path) -> None:
    """Make a finished run an interrupted one, as a kill before the completion leaves it."""
    record = json.loads((run / "run.json").read_text())
    record["status"] = "running"
    (run / "run.json").write_text(json.dumps(record))
    for name in COMPLETION:
        (run / name).unlink()


def remove(*names: str) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        for name in names:
            path = run / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return change


def flip(name: str) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        (path,) = run.glob(name)
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 4
        path.write_bytes(bytes(data))

    return change


def edit_recipe(run: Path) -> None:
    recipe = json.loads((run / "recipe.json").read_text())
    recipe["train"]["lr"] = 0.5
    (run / "recipe.json").write_text(json.dumps(recipe))


def break_line(run: Path) -> None:
    lines = (run / "metrics.jsonl").read_bytes().split(b"\n")
    lines[1] = lines[1][:-4]
    (run / "metrics.jsonl").write_bytes(b"\n".join(lines))


REFUSED_WHEN_RAISED = {
    "checkpoints and data deleted": (remove("checkpoints", "data"), "no checkpoints"),
    "checkpoints and latest deleted": (remove("checkpoints", "latest"), "no checkpoints"),
    "run.json deleted": (remove("run.json"), "no run.json"),
    "text deleted": (remove("text"), "text"),
    "model deleted": (remove("model.safetensors"), "model.safetensors is missing"),
    "model flipped": (flip("model.safetensors"), "model.safetensors is not the file that this run wrote"),
    "tokenizer flipped": (flip("text/source*"), "is not the file that this run wrote"),
    "recipe edited": (edit_recipe, "train.lr: 0.01 in the run, 0.5 in the file"),
    "line broken": (break_line, "metrics.jsonl is not the file that this run wrote"),
    "metrics deleted": (remove("metrics.jsonl"), "metrics.jsonl is not the file that this run wrote"),
}


@pytest.mark.parametrize("fault", REFUSED_WHEN_RAISED)
@pytest.mark.parametrize("is_interrupted", [False, True], ids=["finished", "interrupted"])
def test_a_run_that_cannot_continue_is_refused_and_stays_as_it_is(
    copied: tuple[Path, Path], command: Command, fault: str, is_interrupted: bool
) -> None:
    data, run = copied
    change, reason = REFUSED_WHEN_RAISED[fault]
    if is_interrupted:
        interrupt(run)
    change(run)
    before = content(run)
    done = command(*longer(data, run))
    assert done.code == 2, done.err
    assert reason in done.err
    assert "--fresh" in done.err
    assert len(done.err[done.err.find("calque: ") :].splitlines()) <= 6
    assert content(run).get("model.safetensors") == before.get("model.safetensors")
    assert content(run).get("metrics.jsonl") == before.get("metrics.jsonl")


COMPLETED = {
    "report deleted": remove("report.html"),
    "card deleted": remove("README.md"),
    "manifest deleted": remove("manifest.json"),
    "recipe deleted": remove("recipe.json"),
    "latest deleted": remove("latest"),
    "data deleted": remove("data"),
    "stray temporary": lambda run: (run / f".report.html.tmp-{2**22 + 1}").write_text("half"),
    "killed before the completion": interrupt,
}


@pytest.mark.parametrize("fault", COMPLETED)
def test_the_same_command_completes_what_is_missing(copied: tuple[Path, Path], command: Command, fault: str) -> None:
    data, run = copied
    before = content(run)
    COMPLETED[fault](run)
    done = command(*train_command(data, run))
    assert done.code == 0, done.err
    after = content(run)
    assert {name for name in before if not name.startswith("data")} <= after.keys() | {"latest"}
    assert after["model.safetensors"] == before["model.safetensors"]
    assert after["metrics.jsonl"] == before["metrics.jsonl"]
    assert json.loads((run / "run.json").read_text())["status"] == "finished"
    assert all((run / name).is_file() for name in COMPLETION)
    assert not list(run.glob(".*"))


def test_a_damaged_model_is_not_confirmed_by_a_new_manifest(copied: tuple[Path, Path], command: Command) -> None:
    data, run = copied
    for change in (remove("manifest.json", "checkpoints"), flip("model.safetensors")):
        change(run)
    done = command(*train_command(data, run))
    assert done.code == 2, done.err
    assert "model.safetensors is not the file that this run wrote" in done.err
    assert not (run / "manifest.json").exists()


def test_a_run_killed_before_its_first_checkpoint_starts_again(copied: tuple[Path, Path], command: Command) -> None:
    """The first validation may come before the first checkpoint: its weights are then written again, the same."""
    data, run = copied
    before = content(run)
    interrupt(run)
    for path in [*(run / "checkpoints").glob("step-*"), run / "latest"]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    done = command(*train_command(data, run))
    assert done.code == 0, done.err
    after = content(run)
    assert after["model.safetensors"] == before["model.safetensors"]
    assert after["metrics.jsonl"] == before["metrics.jsonl"]


def test_fresh_killed_anywhere_is_completed_by_the_next_command(
    copied: tuple[Path, Path], command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stop the removal at each of its steps in turn; the plain command then trains from the start, to the same bits."""
    data, run = copied
    before = content(run)
    steps = 0

    class KilledError(Exception):
        pass

    def counting(call: Callable[..., object], most: int) -> Callable[..., object]:
        def counted(*arguments: object, **options: object) -> object:
            nonlocal steps
            steps += 1
            if steps > most:
                raise KilledError
            return call(*arguments, **options)

        return counted

    whole = run.parent / "whole"
    shutil.copytree(run, whole)
    for most in (1, 2, 4, 8, 11):
        steps = 0
        shutil.rmtree(run)
        shutil.copytree(whole, run)
        with monkeypatch.context() as patched:
            patched.setattr(shutil, "rmtree", counting(shutil.rmtree, most))
            patched.setattr(Path, "unlink", counting(Path.unlink, most))
            with pytest.raises(KilledError):
                integrity.clear(run)
        done = command(*train_command(data, run))
        assert done.code == 0, done.err
        assert content(run) == before


def test_refused_data_leave_the_model_that_fresh_would_replace(copied: tuple[Path, Path], command: Command) -> None:
    run = copied[1]
    before = content(run)
    (run.parent / "bad.tsv").write_bytes(b"one\ttwo\n\xff\xfe\n" * 30)
    done = command(*train_command(run.parent / "bad.tsv", run), "--fresh")
    assert done.code == 3, done.err
    assert content(run) == before
