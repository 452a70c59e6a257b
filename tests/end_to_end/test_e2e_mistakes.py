"""A user's mistakes: an error of at most six lines with what, where and the fix, and the promised exit code."""

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from toy_language import BRIEF, Finished, train_command, write_pairs

Command = Callable[..., Finished]


def check_mistake(done: Finished, code: int, *parts: str) -> None:
    """Hold one refusal to what all of them promise."""
    message = done.err[max(done.err.find("calque: "), 0) :]
    assert done.code == code, done.err
    assert "Traceback" not in done.err
    assert len(message.splitlines()) <= 6, message
    for part in parts:
        assert part in message, message
    assert done.out == ""


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["trian", "x.tsv"], "train"),
        (["genrate", "m"], "generate"),
        (["inof", "m"], "info"),
        (["train", "digits.tsv", "--modle", "gru"], "--model"),
        (["train", "digits.tsv", "--sed", "1"], "--seed"),
        (["train", "digits.tsv", "--model", "lsmt"], '"lstm"'),
        (["train", "digits.tsv", "--model", "transfomer"], '"transformer"'),
        (["train", "digits.tsv", "--size", "tniy"], '"tiny"'),
        (["train", "digits.tsv", "--task", "translatoin"], '"translation"'),
        (["train", "digits.tsv", "--set", "train.lrr=1"], '"lr"'),
        (["train", "digits.tsv", "--set", "trian.lr=1"], '"train"'),
        (["train", "digits.tsv", "--set", "model.encoder.widht=8"], '"width"'),
        (["train", "digits.tsv", "--set", "model.encoder.kind=transfromer"], '"transformer"'),
        (["train", "digit.tsv"], '"digits.tsv"'),
        (["train", "digits.tsv", "--valid", "digtis.tsv"], '"digits.tsv"'),
        (["recipe", "train.patiense"], '"train.patience"'),
    ],
)
def test_a_typing_error_names_what_was_meant(
    arguments: list[str], meant: str, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Name the nearest known command, option, name, key or file."""
    monkeypatch.chdir(tmp_path)
    write_pairs(Path("digits.tsv"), 60)
    check_mistake(command(*arguments), 2, meant)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--set", "train.lr=-1"], "train.lr"),
        (["--set", "train.lr=fast"], "train.lr"),
        (["--set", "lr"], "KEY=VALUE"),
        (["--config", "no.toml"], "--config no.toml"),
        (["--languages", "english"], "en-zh"),
        (["--threads", "0"], "train.threads"),
        (["--seed", "x"], "--seed"),
        (["--set", "train=3"], "train"),
        (["--set", "data=3"], "data"),
        (["--set", "text=3"], "text"),
        (["--set", "model.encoder=3"], "model.encoder"),
        (["--set", "data.columns=3"], "data.columns"),
        (["--set", "data.columns.source=3"], "data.columns.source"),
        (["--set", "train.validation_sentences=few"], "train.validation_sentences"),
    ],
)
def test_a_wrong_value_is_named(arguments: list[str], part: str, command: Command, tmp_path: Path) -> None:
    """Say which key or option, and what it needs."""
    data = write_pairs(tmp_path / "digits.tsv", 60)
    check_mistake(command("train", data, "--out", tmp_path / "run", *arguments), 2, part)


REFUSED_BY_A_RUN = [
    (["--set", "model.encoder.width=100", "--set", "model.encoder.heads=3"], 2, "multiple of model.encoder.heads"),
    (["--set", "model.head.kind=pointer", "--set", "text.copying=false"], 2, "text.copying"),
    (["--set", "model.encoder.width=65536", "--set", "model.decoder.width=65536"], 4, "more memory than"),
    (["--threads", "1000"], 2, "train.threads"),
    (["--threads", "100000"], 2, "train.threads"),
    (["--seed", "-1"], 2, "train.seed"),
    (["--set", "train.lr=1e999"], 2, "train.lr"),
    (["--set", "search.beam=100000"], 2, "search.beam"),
]


@pytest.mark.parametrize("dry", [["--dry-run"], []], ids=["dry", "real"])
@pytest.mark.parametrize(("arguments", "code", "part"), REFUSED_BY_A_RUN, ids=lambda value: str(value)[:40])
def test_a_dry_run_refuses_what_the_run_refuses(
    arguments: list[str], code: int, part: str, dry: list[str], command: Command, tmp_path: Path
) -> None:
    """Make the same checks with and without --dry-run, before anything is written."""
    data = write_pairs(tmp_path / "digits.tsv", 60)
    model = [] if "copying" in str(arguments) else ["--model", "transformer"]
    done = command("train", data, "--out", tmp_path / "run", *model, *arguments, *dry)
    check_mistake(done, code, part)
    assert not (tmp_path / "run" / "run.json").exists()


@pytest.mark.parametrize("option", ["--threads", "--beam", "--n-best", "--batch"])
@pytest.mark.parametrize("value", ["-1", "100000000"])
def test_numbers_of_generate_have_bounds(option: str, value: str, toy_model: Path, command: Command) -> None:
    """Refuse a number outside the bounds by the name of its option."""
    check_mistake(command("generate", toy_model, "one", option, value), 2, option)


@pytest.mark.parametrize(
    ("setting", "part"),
    [
        ("data.columns.sorce=id", '"source"'),
        ("data.columns.source", "KEY=VALUE"),
        ("data.columns=3", "data.columns"),
        ("data.max_length=9", "data.columns.source"),
        ("train.lr=0.1", "data.columns.source"),
    ],
)
def test_a_check_refuses_settings_that_it_has_no_use_for(
    setting: str, part: str, command: Command, tmp_path: Path
) -> None:
    """Take the names of columns and nothing else."""
    data = write_pairs(tmp_path / "digits.tsv", 60)
    check_mistake(command("check", data, "--set", setting), 2, part)


def test_a_misspelt_file_leaves_nothing_behind(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Make no run folder for data that are not there."""
    monkeypatch.chdir(tmp_path)
    check_mistake(command("train", "no.tsv"), 2, "no.tsv")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("verb", [["generate"], ["generate", "--beam", "1"], ["info"], ["eval"]])
def test_a_folder_that_is_no_model(verb: list[str], toy_model: Path, command: Command, tmp_path: Path) -> None:
    """Tell a missing folder, naming models beside it, from a folder without a model and from a file."""
    data = write_pairs(tmp_path / "x.tsv", 20)
    more = ["one", *verb[1:]] if verb[0] == "generate" else [str(data)] * (verb[0] == "eval")
    check_mistake(command(verb[0], toy_model.parent / "digit", *more), 2, "no model folder", str(toy_model))
    check_mistake(command(verb[0], tmp_path, *more), 2, "no model folder", "recipe.json")
    check_mistake(command(verb[0], data, *more), 2, "no model folder")


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "flipped": lambda content: bytes([content[0] ^ 0xFF]) + content[1:],
    "noise": lambda content: bytes(range(256)) * 8,
}


@pytest.fixture(scope="module")
def subword_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model with SentencePiece on one side and characters on the other."""
    from calque.cli.main import main

    folder = tmp_path_factory.mktemp("subword")
    data = write_pairs(folder / "digits.en-zh.tsv")
    kinds = ("text.source.kind=sentencepiece", "text.source.vocab_size=300")
    with pytest.raises(SystemExit) as ended:
        main([*train_command(data, folder / "run", (*BRIEF, *kinds)), "--quiet"])
    assert ended.value.code == 0
    return folder / "run"


@pytest.mark.parametrize("damage", sorted(DAMAGES))
@pytest.mark.parametrize("name", ["model.safetensors", "recipe.json", "text/text.json", "text/source.model"])
def test_a_damaged_file_is_named(name: str, damage: str, subword_model: Path, command: Command, tmp_path: Path) -> None:
    """Name the file in one line, for every kind of damage."""
    folder = Path(shutil.copytree(subword_model, tmp_path / "model"))
    (folder / name).write_bytes(DAMAGES[damage]((folder / name).read_bytes()))
    done = command("generate", folder, "one two", "--threads", 1)
    check_mistake(done, 2, Path(name).name)
    assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize("name", ["model.safetensors", "recipe.json", "text/text.json", "text/target.json"])
def test_a_missing_file_is_named(name: str, subword_model: Path, command: Command, tmp_path: Path) -> None:
    """Name what the folder lacks."""
    folder = Path(shutil.copytree(subword_model, tmp_path / "model"))
    (folder / name).unlink()
    check_mistake(command("generate", folder, "one", "--threads", 1), 2, Path(name).name)


@pytest.mark.parametrize("options", [[], ["--beam", "1"]])
@pytest.mark.parametrize("section", ["format", "model", "search", "data"])
def test_a_recipe_that_lacks_a_section(
    section: str, options: list[str], subword_model: Path, command: Command, tmp_path: Path
) -> None:
    """Name the file and what it lacks, whichever part of it is read first."""
    folder = Path(shutil.copytree(subword_model, tmp_path / "model"))
    recipe = json.loads((folder / "recipe.json").read_text())
    del recipe[section]
    (folder / "recipe.json").write_text(json.dumps(recipe))
    check_mistake(command("generate", folder, "one", "--threads", 1, *options), 2, section)


def test_weights_of_another_recipe(subword_model: Path, command: Command, tmp_path: Path) -> None:
    """Refuse weights whose shapes are not the recipe's, and name one."""
    folder = Path(shutil.copytree(subword_model, tmp_path / "model"))
    recipe = json.loads((folder / "recipe.json").read_text())
    recipe["model"]["encoder"]["width"] = 40
    (folder / "recipe.json").write_text(json.dumps(recipe))
    check_mistake(command("generate", folder, "one", "--threads", 1), 2, "do not belong together", "encoder")


def test_training_on_in_a_damaged_run(subword_model: Path, command: Command, tmp_path: Path) -> None:
    """Name run.json or recipe.json when the same command meets it broken."""
    kinds = ("text.source.kind=sentencepiece", "text.source.vocab_size=300")
    for name in ("recipe.json", "run.json"):
        folder = Path(shutil.copytree(subword_model, tmp_path / name))
        (folder / name).write_text("{")
        done = command(*train_command(subword_model.parent / "digits.en-zh.tsv", folder, (*BRIEF, *kinds)))
        check_mistake(done, 2, name)


GOOD = "".join(f"one\t{'一'}\n" for _ in range(5)).encode()
BAD_DATA = {
    "utf8": (GOOD + b"tw\xff\t\xe4\xb8\x80\n", "bad.tsv:6:2"),
    "nul": (GOOD + b"two\0\tx\n", "bad.tsv:6:3"),
    "one column": (GOOD + b"two\n", "bad.tsv:6"),
    "three columns": (GOOD + b"two\tx\ty\n", "bad.tsv:6"),
    "utf16": (("one\tx\n" * 5).encode("utf-16"), "iconv -f UTF-16"),
    "empty": (b"", "bad.tsv"),
    "blank": (b"\n\n \n", "bad.tsv"),
    "half gzip": (gzip.compress(GOOD * 50)[:40], "gzip"),
    "json": (b'{"source": "one", "target": "x"}\n{"source": "one"}\n', "bad.tsv:2"),
}


@pytest.mark.parametrize("case", sorted(BAD_DATA))
@pytest.mark.parametrize("verb", ["train", "eval"])
def test_bad_data_name_file_and_line(case: str, verb: str, toy_model: Path, command: Command, tmp_path: Path) -> None:
    """Every command that reads the file exits with 3 and names the place and the fix."""
    content, place = BAD_DATA[case]
    (tmp_path / "bad.tsv").write_bytes(content)
    arguments = ["train", tmp_path / "bad.tsv", "--out", tmp_path / "run"]
    if verb == "eval":
        arguments = ["eval", toy_model, tmp_path / "bad.tsv", "--threads", 1]
    check_mistake(command(*arguments), 3, place)


def test_unequal_files_name_the_slip(command: Command, tmp_path: Path) -> None:
    """Refuse two files of unequal length, with both counts."""
    (tmp_path / "x.en").write_text("one\n" * 30)
    (tmp_path / "x.zh").write_text("一\n" * 29)
    done = command("train", tmp_path / "x.en", tmp_path / "x.zh", "--out", tmp_path / "run")
    check_mistake(done, 3, "30 lines, but ")


def test_debug_shows_the_traceback(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Show it on request, with the same message and exit code."""
    monkeypatch.setenv("CALQUE_DEBUG", "")
    done = command("--debug", "info", tmp_path / "no")
    assert done.code == 2
    assert "Traceback" in done.err
    assert "calque: no model folder" in done.err


def test_a_flipped_bit_in_the_weights(subword_model: Path, command: Command, tmp_path: Path) -> None:
    """Refuse weights that load without trouble, but are not those that training wrote."""
    folder = Path(shutil.copytree(subword_model, tmp_path / "model"))
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-5] ^= 1
    (folder / "model.safetensors").write_bytes(data)
    check_mistake(command("generate", folder, "one", "--threads", 1), 2, "model.safetensors", "damaged")
