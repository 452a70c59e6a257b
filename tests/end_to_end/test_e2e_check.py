"""`calque check` exits 3 exactly where training would refuse the data; `eval` warns where they do not fit the model."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from toy_language import Finished

Command = Callable[..., Finished]
PAIRS = "".join(f"word {number}\t词 {number}\n" for number in range(80))
TAGGED = "tag\tsource\ttarget\n" + "".join(f"{'x' * 300}{number}\tword {number}\tx\n" for number in range(80))
TAG = ("--set", "data.columns.tag=tag")
FILES: list[tuple[str, str | bytes, tuple[str, ...], int]] = [
    ("plain", PAIRS, (), 0),
    ("doubtful", PAIRS + "a\t\n\ta\nsame\tsame\n\u200b\tx\nword 1\t词 1\n", (), 0),
    ("quoted", PAIRS + '"a ""b"" c"\tx\n', (), 0),
    ("bad line", PAIRS + "no tab\n", (), 3),
    ("NUL", PAIRS + "a\0\tx\n", (), 3),
    ("bad bytes", PAIRS.encode() + b"\xff\tx\n", (), 3),
    ("all bad", "a\tb\tc\n" * 20, (), 3),
    ("empty sides", "a\t\n\tb\n" * 20, (), 3),
    ("invisible sides", "a\t\u200b\n\ufeff\tb\n" * 20, (), 3),
    ("one pair", "a\tb\n", (), 3),
    ("one source", "a\tb\n" * 90, (), 3),
    ("texts as tags", TAGGED, TAG, 3),
    ("no such column", TAGGED, ("--set", "data.columns.tag=lang"), 3),
    ("semicolons", PAIRS.replace("\t", ";"), (), 3),
]


@pytest.mark.parametrize(("content", "settings", "code"), [row[1:] for row in FILES], ids=[row[0] for row in FILES])
def test_check_agrees_with_training(
    content: str | bytes,
    settings: tuple[str, ...],
    code: int,
    command: Command,
    tmp_path: Path,
) -> None:
    """Answer with the exit code of `train --dry-run`, and name a reason for 3."""
    data = tmp_path / "data.tsv"
    data.write_bytes(content if isinstance(content, bytes) else content.encode())
    checked = command("check", data, *settings)
    planned = command("train", data, "--out", tmp_path / "run", "--dry-run", *settings)
    assert (checked.code, planned.code) == (code, code), checked.err + planned.err
    if code:
        assert "error: " in checked.out or "calque: " in checked.err
    fixed = command("check", data, "--fix", tmp_path / "clean.tsv", *settings)
    assert fixed.code == code
    assert ("--fix" in checked.out + checked.err) <= (tmp_path / "clean.tsv").exists()


def test_check_with_a_validation_file(command: Command, tmp_path: Path) -> None:
    """Read the data as `train --valid` would; JSON says whether they are refused."""
    data, valid = tmp_path / "data.tsv", tmp_path / "valid.tsv"
    data.write_text("a\tb\n")
    valid.write_text(PAIRS)
    assert command("check", data).code == 3
    checked = command("check", data, "--set", f"data.valid={valid}", "--json")
    assert (checked.code, json.loads(checked.out)["refused"]) == (0, False)
    assert command("train", data, "--valid", valid, "--out", tmp_path / "run", "--dry-run").code == 0
    valid.write_text(PAIRS + "bad\n")
    checked = command("check", data, "--set", f"data.valid={valid}", "--json")
    assert (checked.code, json.loads(checked.out)["refused"]) == (3, True)


def test_eval_warns_of_data_that_do_not_fit(command: Command, toy_model: Path, toy_data: Path, tmp_path: Path) -> None:
    """Warn of swapped columns on standard error, and of nothing for data that fit."""
    lines = toy_data.read_text(encoding="utf-8").splitlines()[:40]
    fitting, swapped = tmp_path / "fitting.tsv", tmp_path / "swapped.tsv"
    fitting.write_text("\n".join(lines) + "\n", encoding="utf-8")
    swapped.write_text("".join("\t".join(reversed(line.split("\t"))) + "\n" for line in lines), encoding="utf-8")
    assert "warning" not in command("eval", toy_model, fitting).err
    answered = command("eval", toy_model, swapped, "--json")
    assert answered.code == 0
    assert "letters of the sources" in answered.err
    assert "are the columns swapped?" in answered.err
    assert json.loads(answered.out)["scores"]


def test_bad_test_data_are_refused_before_training(command: Command, tmp_path: Path) -> None:
    """Refuse a bad line of the test data at the start, and in a dry run."""
    data, test = tmp_path / "data.tsv", tmp_path / "test.tsv"
    data.write_text(PAIRS)
    test.write_text("a\tb\nno tab\n")
    for dry in ((), ("--dry-run",)):
        done = command("train", data, "--test", test, "--out", tmp_path / "run", *dry)
        assert done.code == 3
        assert f"{test}:2" in done.err
