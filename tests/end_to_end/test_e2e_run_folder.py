"""Law 18: absence of a file never means "new". The same command completes a run or refuses; no model is overwritten."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from toy_language import BRIEF, Finished, train_command, write_pairs

from calque.runs import integrity, prepare
from calque.training import run as training

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
    for key in ("seconds", "scores", "weights", "metrics"):
        del record[key]
    (run / "run.json").write_text(json.dumps(record))
    for name in COMPLETION:
        (run / name).unlink()


def remove(*patterns: str) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        for pattern in patterns:
            paths = list(run.glob(pattern))
            assert paths, pattern
            for path in paths:
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    return change


def after(*changes: Callable[[Path], None]) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        for each in changes:
            each(run)

    return change


def replace_by_folder(name: str) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        (run / name).unlink()
        (run / name).mkdir()

    return change


def replace_by_fifo(name: str) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        (run / name).unlink()
        os.mkfifo(run / name)

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
    "every checkpoint and latest deleted": (remove("checkpoints/step-*", "latest"), "no checkpoints"),
    "run.json deleted": (remove("run.json"), "no run.json"),
    "run.json, checkpoints and text deleted": (remove("run.json", "checkpoints", "text"), "no run.json"),
    "run.json is a folder": (replace_by_folder("run.json"), "run.json is not a regular file"),
    "metrics are a folder": (replace_by_folder("metrics.jsonl"), "metrics.jsonl is not a regular file"),
    "latest is a FIFO": (replace_by_fifo("latest"), "latest is not a regular file"),
    "text deleted": (remove("text"), "text"),
    "model deleted": (remove("model.safetensors"), "model.safetensors is missing"),
    "model flipped": (flip("model.safetensors"), "model.safetensors is not the file that this run wrote"),
    "model flipped, hashes deleted": (
        after(flip("model.safetensors"), remove("checkpoints/best.json")),
        "model.safetensors is not the file that this run wrote",
    ),
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
    assert "--out" in done.err
    assert len(done.err[done.err.find("calque: ") :].splitlines()) <= 6
    assert content(run).get("model.safetensors") == before.get("model.safetensors")
    assert content(run).get("metrics.jsonl") == before.get("metrics.jsonl")


def half_removed(run: Path, name: str) -> None:
    """Leave what a process leaves that is killed while it saves or removes a checkpoint."""
    folder = run / "checkpoints" / f"{name}.tmp-{2**22 + 1}"
    folder.mkdir()
    (folder / "state.json").write_text("{")


COMPLETED = {
    "report deleted": remove("report.html"),
    "card deleted": remove("README.md"),
    "manifest deleted": remove("manifest.json"),
    "recipe deleted": remove("recipe.json"),
    "latest deleted": remove("latest"),
    "data deleted": remove("data"),
    "stray temporary": lambda run: (run / f".report.html.tmp-{2**22 + 1}").write_text("half"),
    "stray hashes": lambda run: (run / f"checkpoints/.best.json.tmp-{2**22 + 1}").write_text("half"),
    "killed before the completion": interrupt,
    "checkpoint half removed": lambda run: half_removed(run, "step-000002"),
    "killed while a checkpoint was removed": after(interrupt, lambda run: half_removed(run, "step-000002")),
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
    assert not list(run.rglob("*.tmp-*"))


def test_a_damaged_model_is_not_confirmed_by_a_new_manifest(copied: tuple[Path, Path], command: Command) -> None:
    data, run = copied
    for change in (remove("manifest.json", "checkpoints"), flip("model.safetensors")):
        change(run)
    done = command(*train_command(data, run))
    assert done.code == 2, done.err
    assert "model.safetensors is not the file that this run wrote" in done.err
    assert not (run / "manifest.json").exists()


REFUSED = {
    "model deleted": (remove("model.safetensors"), "model.safetensors is missing"),
    "model and manifest deleted": (remove("model.safetensors", "manifest.json"), "model.safetensors is missing"),
    "metrics and report deleted": (remove("metrics.jsonl", "report.html"), "metrics.jsonl is missing"),
    "metrics flipped, report deleted": (after(flip("metrics.jsonl"), remove("report.html")), "metrics.jsonl is not"),
    "metrics flipped before the completion": (after(interrupt, flip("metrics.jsonl")), "metrics.jsonl is not"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_cannot_be_completed_is_refused(copied: tuple[Path, Path], command: Command, fault: str) -> None:
    data, run = copied
    change, reason = REFUSED[fault]
    change(run)
    before, present = content(run), set(run.iterdir())
    done = command(*train_command(data, run))
    assert done.code == 2, done.err
    assert reason in done.err
    assert content(run).get("model.safetensors") == before.get("model.safetensors")
    assert set(run.iterdir()) == present


@pytest.mark.parametrize("key", ["status", "request", "data", "pairs", "threads", "machine", "recipe", "text"])
def test_a_damaged_record_is_named(copied: tuple[Path, Path], command: Command, key: str) -> None:
    data, run = copied
    whole = json.loads((run / "run.json").read_text())
    before = content(run)
    for value in (None, [5], {"a": 1}):
        (run / "run.json").write_text(json.dumps(whole | {key: value}))
        done = command(*train_command(data, run))
        assert done.code == 2, (value, done.err)
        assert content(run)["model.safetensors"] == before["model.safetensors"]


def test_a_run_killed_before_its_first_checkpoint_starts_again(
    finished_run: tuple[Path, Path], tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first validation may come before the first checkpoint: its weights are then written again, the same."""
    data, whole = finished_run
    run = tmp_path / "run"

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(training, "save_checkpoint", killed)
        command(*train_command(data, run))
    assert (run / "model.safetensors").exists()
    assert not list((run / "checkpoints").glob("step-*"))
    done = command(*train_command(data, run))
    assert done.code == 0, done.err
    for name in ("model.safetensors", "metrics.jsonl"):
        assert (run / name).read_bytes() == (whole / name).read_bytes()


def test_a_start_killed_before_its_record_is_completed(
    finished_run: tuple[Path, Path], tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, whole = finished_run
    run = tmp_path / "run"

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    for name in ("write_recipe", "write_record"):
        with monkeypatch.context() as patched:
            patched.setattr(prepare, name, killed)
            command(*train_command(data, run))
        assert (run / "text").exists()
        assert not (run / "run.json").exists()
    done = command(*train_command(data, run))
    assert done.code == 0, done.err
    assert content(run) == content(whole)


@pytest.mark.parametrize("option", [(), ("--fresh",), ("--dry-run",)], ids=["plain", "fresh", "dry run"])
def test_files_that_calque_did_not_write_are_never_replaced(
    tmp_path: Path, command: Command, option: tuple[str, ...]
) -> None:
    """A folder of the user's own is no folder of a run, even if its files have the names of a run's files."""
    project = tmp_path / "project"
    for name in ("data", "text", "checkpoints"):
        (project / name).mkdir(parents=True)
        (project / name / "mine.txt").write_text("mine")
    for name in ("README.md", "model.safetensors", "run.json", "recipe.json"):
        (project / name).write_text('{"mine": 1}')
        data = write_pairs(project / "data" / "digits.en-zh.tsv")
        before = content(project)
        done = command(*train_command(data, project), *option)
        assert done.code == 2, done.err
        assert "--out" in done.err
        assert content(project) == before


def test_the_folder_of_the_data_can_be_that_of_the_run(tmp_path: Path, command: Command) -> None:
    data = tmp_path / "data" / "digits.en-zh.tsv"
    data.parent.mkdir()
    write_pairs(data)
    before = data.read_bytes()
    for option in ((), ("--fresh",)):
        done = command(*train_command(data, tmp_path), *option)
        assert done.code == 0, done.err
        assert data.read_bytes() == before


def test_a_run_does_not_replace_the_model_that_it_starts_from(copied: tuple[Path, Path], command: Command) -> None:
    data, run = copied
    before = content(run)
    link = run.parent / "link"
    link.symlink_to(run)
    for origin in (run, link):
        done = command("train", data, "--out", run, "--from", origin, "--fresh")
        assert done.code == 2, done.err
        assert "--out" in done.err
        assert content(run) == before


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
