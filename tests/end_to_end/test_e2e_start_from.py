"""Going on from a model with other data: its tokens, parts and weights are taken, and nothing is half taken."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from toy_language import BRIEF, Finished, pairs, train_command, write_pairs

import calque

Command = Callable[..., Finished]


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a model trained on the toy language."""
    from calque.cli.main import main

    folder = tmp_path_factory.mktemp("origin")
    data = write_pairs(folder / "digits.en-zh.tsv")
    with pytest.raises(SystemExit):
        main(
            [
                *train_command(data, folder / "run", (*BRIEF, "train.max_updates=60", "train.validate_every=30")),
                "--quiet",
            ]
        )
    return folder / "run"


def first_losses(folder: Path) -> list[float]:
    """Return the training losses that a run noted."""
    notes = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [note["loss"] for note in notes if "loss" in note]


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Return pairs in another order, the same language."""
    path = tmp_path / "other.tsv"
    path.write_text("".join(f"{source}\t{target}\n" for source, target in reversed(pairs(150))), encoding="utf-8")
    return path


def go_on(
    command: Command, data: Path, folder: Path, start: Path, *fields: str, more: tuple[str, ...] = ()
) -> Finished:
    sets = [part for setting in ("train.max_updates=2", "train.warmup=0", *fields) for part in ("--set", setting)]
    return command("train", data, "--out", folder, "--from", start, "--threads", "1", *sets, *more)


def test_it_knows_what_the_model_knew(command: Command, origin: Path, other: Path, tmp_path: Path) -> None:
    ended = go_on(command, other, tmp_path / "run", origin)
    assert ended.code == 0, ended.err
    assert f"those of {origin}" in ended.err
    assert f"weights of {origin}" in ended.err
    before, after = first_losses(origin), first_losses(tmp_path / "run")
    # Where the origin ended, not where it began.
    assert after[0] < (before[0] + before[-1]) / 2
    for name in ("text.json", "source.json"):
        kept = (origin / "text" / name, tmp_path / "run" / "text" / name)
        assert kept[0].exists() == kept[1].exists()
        assert not kept[0].exists() or kept[0].read_bytes() == kept[1].read_bytes()
    old, new = (json.loads((folder / "recipe.json").read_text()) for folder in (origin, tmp_path / "run"))
    assert old["model"] == new["model"]
    assert old["text"] == new["text"]
    assert calque.load(tmp_path / "run")(pairs(1)[0][0])


def test_the_same_command_goes_on_without_the_origin(
    command: Command, origin: Path, other: Path, tmp_path: Path
) -> None:
    copied = Path(shutil.copytree(origin, tmp_path / "copied"))
    assert go_on(command, other, tmp_path / "run", copied).code == 0
    assert "is finished" in go_on(command, other, tmp_path / "run", copied).err
    different = go_on(command, other, tmp_path / "run", origin)
    assert different.code == 2
    assert "train.start_from" in different.err


def test_what_cannot_go_together_is_refused(command: Command, origin: Path, other: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    tokens = go_on(command, other, out, origin, "text.vocab_size=90")
    assert (tokens.code, "text.vocab_size cannot be set with train.start_from" in tokens.err) == (2, True)
    parts = go_on(command, other, out, origin, "model.encoder.width=48", "model.decoder.width=48")
    assert (parts.code, "do not belong together" in parts.err) == (2, True)
    named = command("train", other, "--out", out, "--from", origin, "--model", "lstm")
    assert (named.code, "--model" in named.err) == (2, True)
    missing = command("train", other, "--out", out, "--from", tmp_path / "none")
    assert (missing.code, "no model folder" in missing.err) == (2, True)
    damaged = Path(shutil.copytree(origin, tmp_path / "damaged"))
    weights = bytearray((damaged / "model.safetensors").read_bytes())
    weights[-5] ^= 64
    (damaged / "model.safetensors").write_bytes(weights)
    flipped = go_on(command, other, tmp_path / "third", damaged)
    assert (flipped.code, "is damaged" in flipped.err) == (2, True)


def test_facts_about_the_new_data_are_found_again(command: Command, origin: Path, other: Path, tmp_path: Path) -> None:
    """A model without languages, as imports are, must not hide what the data or the user say of them."""
    copied = Path(shutil.copytree(origin, tmp_path / "copied"))
    recipe = json.loads((copied / "recipe.json").read_text())
    assert recipe["task"]["target_script"]
    empty = {"source_language": "", "target_language": "", "target_script": ""}
    (copied / "recipe.json").write_text(json.dumps(recipe | {"task": recipe["task"] | empty}))

    def task(start: Path, *more: str) -> tuple[str, str, str]:
        planned = go_on(command, other, tmp_path / "run", start, "train.seed=2", more=("--dry-run", *more))
        assert planned.code == 0, planned.err
        assert "size " not in planned.err
        found = json.loads(planned.out)["task"]
        return found["source_language"], found["target_language"], found["target_script"]

    script = recipe["task"]["target_script"]
    assert task(copied) == ("", "", script)
    assert task(copied, "--languages", "en-zh") == ("en", "zh", script)
    assert task(origin) == ("en", "zh", script)
    assert task(origin, "--languages", "en-ja") == ("en", "ja", script)


def test_from_python(origin: Path, other: Path, tmp_path: Path) -> None:
    brief = {"train.max_updates": 1, "train.threads": 1, "train.device": "cpu"}
    model = calque.train(other, out=tmp_path / "run", start_from=origin, settings=brief, quiet=True)
    assert model.text.fingerprint == calque.load(origin).text.fingerprint
