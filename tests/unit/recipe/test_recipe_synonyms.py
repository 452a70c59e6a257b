"""Names of other toolkits and typing errors are answered with the name that calque has."""

import random
import string

import pytest
import typer

from calque.cli.main import app, main
from calque.errors import UsageError, nearest
from calque.recipe.layers import fields, matching_fields, merge, read_settings, validate
from calque.recipe.synonyms import COMMANDS, FIELDS, OPTIONS, command_meant, field_meant, option_meant
from calque.recipe.tree import Recipe

ROOT = typer.main.get_command(app)
VERBS = ROOT.commands  # type: ignore[attr-defined]


def options_of(verb: str) -> list[str]:
    """Return the long options of a command."""
    return sorted({spelt for one in VERBS[verb].params for spelt in one.opts if spelt.startswith("--")})


@pytest.mark.parametrize(
    ("verb", "written", "ours"),
    [
        ("train", "--epochs", "--set train.max_epochs=N"),
        ("train", "--num_train_epochs", "--set train.max_epochs=N"),
        ("train", "--lr", "--set train.lr=RATE"),
        ("train", "--Epochs", "--set train.max_epochs=N"),
        ("train", "--maxEpoch", "--set train.max_epochs=N"),
        ("train", "--learning-rate", "--set train.lr=RATE"),
        ("train", "--batch-size", "--set train.batch_tokens=N"),
        ("train", "--device", "--set train.device=cuda"),
        ("train", "--gpu", "--set train.device=cuda"),
        ("train", "--fp16", "--set train.precision=bf16"),
        ("train", "--steps", "--set train.max_updates=N"),
        ("train", "--dropout", "--set model.encoder.dropout=X --set model.decoder.dropout=X"),
        ("train", "--hidden-size", "--set model.encoder.width=N --set model.decoder.width=N"),
        ("train", "--lr-scheduler", "--set train.schedule=NAME"),
        ("train", "--warmup-steps", "--set train.warmup=N"),
        ("train", "--beam-size", "--set search.beam=N"),
        ("train", "--src", "calque train PAIRS, or calque train SOURCE TARGET"),
        ("train", "--tgt", "calque train PAIRS, or calque train SOURCE TARGET"),
        ("train", "--valid-data", "--valid FILE"),
        ("train", "--output-dir", "--out DIR"),
        ("train", "--resume-from", "--from MODEL"),
        ("train", "--arch", "--model NAME"),
        ("generate", "--num-beams", "--beam N"),
        ("generate", "--batch-size", "--batch N"),
        ("generate", "--src", "--input FILE"),
        ("generate", "--epochs", "calque train with --set train.max_epochs=N"),
        ("generate", "--model", "calque generate MODEL TEXT"),
        ("eval", "--metrics", "--metric NAME"),
        ("eval", "--checkpoint", "calque eval MODEL PAIRS, or calque eval MODEL SOURCE TARGET"),
    ],
)
def test_an_option_of_another_toolkit(verb: str, written: str, ours: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Answer with exactly what to write, on one line, with exit code 2."""
    with pytest.raises(SystemExit) as ended:
        main([verb, written, "3"])
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"calque: calque {verb} has no option {written}. Use {ours}.\n"


@pytest.mark.parametrize(
    ("written", "ours"),
    [
        ("train.epochs", "train.max_epochs=N"),
        ("train.learning_rate", "train.lr=RATE"),
        ("train.learningRate", "train.lr=RATE"),
        ("train.batch_size", "train.batch_tokens=N"),
        ("model.encoder.num_layers", "model.encoder.layers=N and model.decoder.layers=N"),
        ("model.decoder.hidden_size", "model.encoder.width=N and model.decoder.width=N"),
        ("search.num_beams", "search.beam=N"),
        ("epochs", "train.max_epochs=N"),
    ],
)
def test_a_recipe_key_of_another_toolkit(written: str, ours: str) -> None:
    """Answer with calque's field, where a setting is validated and where its help is asked for."""
    with pytest.raises(UsageError) as caught:
        validate(merge(Recipe().model_dump(), read_settings([f"{written}=3"])))
    assert str(caught.value).endswith(f" Use {ours}.")
    assert "Did you mean" not in str(caught.value)
    with pytest.raises(UsageError) as caught:
        matching_fields(written)
    assert str(caught.value).endswith(f" Use {ours}.")


def test_a_typing_error_of_a_field_is_not_taken_for_the_name_of_another_toolkit() -> None:
    """Suggest the field of the section that is a letter away."""
    with pytest.raises(UsageError, match='Did you mean "layers"'):
        validate(merge(Recipe().model_dump(), read_settings(["model.encoder.layerss=3"])))


@pytest.mark.parametrize(
    ("written", "ours"),
    [
        ("translate", "generate"),
        ("summarize", "generate"),
        ("predict", "generate"),
        ("fit", "train"),
        ("finetune", "train"),
        ("evaluate", "eval"),
        ("describe", "info"),
        ("convert", "export"),
    ],
)
def test_a_command_of_another_toolkit(written: str, ours: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Name the command of calque."""
    with pytest.raises(SystemExit) as ended:
        main([written, "x"])
    assert ended.value.code == 2
    assert f"Use calque {ours}." in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["train", "generate", "eval", "recipe"])
def test_an_option_like_no_other_lists_those_of_the_command(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Name every option where neither another toolkit's name nor a typing error fits."""
    with pytest.raises(SystemExit) as ended:
        main([verb, "--qqqqqqqqqqqqqqqqqqqqqqqqqqqqqq", "3"])
    assert ended.value.code == 2
    message = capsys.readouterr().err
    assert "Did you mean" not in message
    assert all(spelt in message.partition(" It has ")[2] for spelt in [*options_of(verb), "--help"])


def test_the_table_names_only_what_there_is() -> None:
    """Hold every field, option and command of the table against the recipe and the command line."""
    for ours in FIELDS:
        for part in ours.split(" and "):
            assert matching_fields(part.partition("=")[0])
    every = {spelt for verb in VERBS.values() for one in verb.params for spelt in one.opts}
    assert {ours.partition(" ")[0] for ours in OPTIONS} <= every
    assert set(COMMANDS) <= set(VERBS)
    for table in (FIELDS, COMMANDS):
        names = [name for written in table.values() for name in written.split()]
        assert len(names) == len(set(names))
    assert not set(VERBS) & {name for written in COMMANDS.values() for name in written.split()}
    assert field_meant("train.no_such") is None
    assert command_meant("no-such") is None
    assert option_meant("--no-such", "train", []) is None


def mistyped(name: str, count: int, draw: random.Random) -> str:
    """Return a name with `count` letters too many, too few, wrong, or exchanged with their neighbour."""
    for _ in range(count):
        at = draw.randrange(len(name))
        letter = draw.choice(string.ascii_lowercase)
        exchanged = name[:at] + name[at : at + 2][::-1] + name[at + 2 :]
        name = draw.choice([name[:at] + name[at + 1 :], name[:at] + letter + name[at:], exchanged])
        name = name or letter
    return name


@pytest.mark.parametrize("count", [1, 2])
def test_typing_errors_find_the_name(count: int) -> None:
    """Suggest the right name for 95 of 100 names of fields and options with one or two wrong letters."""
    draw = random.Random(count)
    sections: dict[str, set[str]] = {}
    for key, _, _ in fields():
        section, _, name = key.rpartition(".")
        sections.setdefault(section, set()).add(name)
    families = [sorted(names) for names in sections.values()] + [options_of(verb) for verb in VERBS] + [sorted(VERBS)]
    tried = right = 0
    for known in families:
        for name in known:
            plain = name.lstrip("-")
            if len(plain) < 4:
                continue
            for _ in range(5):
                wrong = name[: len(name) - len(plain)] + mistyped(plain, count, draw)
                if wrong in known:
                    continue
                tried += 1
                right += nearest(wrong, known) == name
    assert tried > 1_000
    assert right / tried >= 0.95
