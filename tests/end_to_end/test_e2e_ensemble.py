"""Ensembles from the command line and in Python: different models, copied words, and members that do not fit."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from toy_language import BRIEF, DIGITS, TINY, Finished, settings, write_pairs

import calque
from calque.errors import UsageError
from calque.predict.ensemble import ensemble, in_two
from calque.predict.ensemble import load as load_ensemble
from calque.predict.predictor import Predictor
from calque.search.options import SearchConfig

Command = Callable[..., Finished]
LINES = ["one two", "seven seven seven", "", "nine", "three one four one five"]
SHORT = ("train.max_updates=6", "train.validate_every=3", "train.save_every=3", "train.validation_sentences=8")
BYTES = "text.source.kind=byte"


def trained(folder: Path, data: Path, *options: str) -> Path:
    """Train a model and return its folder."""
    from calque.cli.main import main

    named = ["--size", "tiny", "--threads", "1", "--seed", "4", "--quiet"]
    with pytest.raises(SystemExit) as ended:
        main(["train", str(data), "--out", str(folder), *named, *options])
    assert ended.value.code == 0
    return folder


@pytest.fixture(scope="module")
def transformer(toy_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a Transformer that reads the toy language by bytes and writes it with the same characters."""
    folder = tmp_path_factory.mktemp("ensemble") / "transformer"
    wide = ("model.encoder.heads=2", "model.decoder.heads=2")
    changed = settings([*BRIEF, *wide, BYTES])
    return trained(folder, toy_data, "--model", "transformer", *changed)


def test_it_answers_as_many_lines_as_it_is_asked(command: Command, toy_model: Path, transformer: Path) -> None:
    done = command("generate", toy_model, "--with", transformer, stdin="\n".join([*LINES, ""]).encode())
    assert done.code == 0
    answers = done.out.split("\n")[:-1]
    assert len(answers) == len(LINES)
    assert [bool(answer) for answer in answers] == [bool(line) for line in LINES]


@pytest.mark.parametrize("space", ["prob", "log"])
def test_python_and_the_command_line_agree(command: Command, toy_model: Path, transformer: Path, space: str) -> None:
    model = calque.load([toy_model, transformer], space=space)
    done = command("generate", toy_model, *LINES, "--with", transformer, "--ensemble-space", space)
    assert done.out.split("\n")[:-1] == model(LINES)


def test_an_ensemble_of_one_is_the_model(toy_model: Path) -> None:
    alone, one, two = calque.load(toy_model), calque.load([toy_model]), calque.load([toy_model, toy_model])
    expected = alone.answers(LINES)
    assert one.answers(LINES) == expected
    for found, wanted in zip(two.answers(LINES), expected, strict=True):
        assert [answer.text for answer in found] == [answer.text for answer in wanted]
        assert [answer.score for answer in found] == pytest.approx([answer.score for answer in wanted], abs=1e-5)


def test_the_first_model_says_how_to_search(toy_model: Path, transformer: Path) -> None:
    pair = calque.load([toy_model, transformer])
    assert pair.options == calque.load(toy_model).options
    assert pair.attention("one two") is None
    (found,) = load_ensemble([toy_model, transformer], SearchConfig(beam=4, n_best=3)).answers(["one two"])
    assert len(found) == 3


def test_eval_scores_an_ensemble(command: Command, toy_model: Path, toy_data: Path) -> None:
    """Score what all members answer together; two equal ones are as good as one."""
    scores = []
    for arguments in ((), ("--with", toy_model)):
        done = command("eval", toy_model, toy_data, *arguments, "--metric", "exact", "--beam", "1", "--json")
        assert done.code == 0
        found = json.loads(done.out)
        assert ("with" in found) == bool(arguments)
        scores.append(found["scores"][0]["value"])
    assert scores[0] == scores[1]
    from_python = calque.evaluate([toy_model], toy_data, ["exact"])
    assert from_python[0].value > 50


def test_a_line_too_long_for_one_member_is_cut_for_all(toy_model: Path, transformer: Path) -> None:
    members = [calque.load(toy_model), calque.load(transformer)]
    pair = ensemble(members, ["a", "b"], "prob")
    words = list(DIGITS) * 5
    (parts,) = pair.reader.read([pair.text.inputs.parse(" ".join(words))])
    assert len(parts) > 1
    for part in parts:
        assert all(len(own) < member.max_length for own, member in zip(part.members, members, strict=True))
    by_bytes = [members[1].text.source.decode(part.members[1].tokens) for part in parts]
    by_words = [members[0].text.source.decode(part.members[0].tokens) for part in parts]
    assert by_bytes == by_words
    assert " ".join(by_bytes).split() == words
    answered = pair.run([" ".join(words), "one"])
    assert "\n" not in answered.answers[0][0].text
    assert answered.long_lines == 1


@pytest.mark.parametrize(
    "text", ["a b", "ab", "one two three", " a  b ", "word", "long-word-without-blanks x", "a " * 9]
)
def test_halves_are_the_whole(text: str) -> None:
    halves = in_two(text)
    assert len(halves) == 2
    assert "".join("".join(halves).split()) == "".join(text.split())
    if " " in text.strip():
        assert " ".join(halves).split() == text.split()


def test_one_character_has_no_halves() -> None:
    assert in_two("a") == in_two(" a ") == ["a"]


def test_members_that_write_otherwise_are_refused(command: Command, toy_model: Path, tmp_path: Path) -> None:
    other = trained(
        tmp_path / "other", write_pairs(tmp_path / "p.tsv", 60), *settings([*BRIEF, "text.target.kind=byte"])
    )
    done = command("generate", toy_model, "one", "--with", other)
    assert done.code == 2
    assert str(toy_model) in done.err
    assert str(other) in done.err
    assert "target tokens differ" in done.err


def test_a_folder_that_is_not_there_is_named(command: Command, toy_model: Path, tmp_path: Path) -> None:
    for verb in (("generate", toy_model, "one"), ("eval", toy_model, tmp_path / "none.tsv")):
        done = command(*verb, "--with", tmp_path / "none")
        assert done.code == 2
        assert "none" in done.err
    with pytest.raises(UsageError, match="at least one"):
        calque.load([])
    with pytest.raises(UsageError, match="no ensemble space 'mean'; there are prob, log"):
        calque.load([toy_model], space="mean")


def test_models_that_copy_agree_on_the_words(tmp_path: Path) -> None:
    """Copy a word that no vocabulary has, by members whose source vocabularies differ."""
    data = tmp_path / "names.tsv"
    words = [f"name{number}" for number in range(40)]
    data.write_text("".join(f"say {word} now\tyes {word}\n" for word in words * 3))
    copying = [
        "text.joint=false",
        "text.copying=true",
        "model.head.kind=pointer",
        "text.target.kind=word",
        "text.target.vocab_size=6",
    ]
    common = [*TINY, *SHORT, *copying, "model.decoder.attention.kind=additive", "search.beam=2"]
    valid = ("--valid", str(data))
    members: list[Predictor] = []
    for name, size in (("large", 30), ("small", 6)):
        folder = trained(
            tmp_path / name, data, *valid, "--model", "gru", *settings([*common, f"text.source.vocab_size={size}"])
        )
        members.append(calque.load(folder))
    pair = ensemble(members, ["large", "small"], "prob")
    assert members[0].text.source.vocab_size != members[1].text.source.vocab_size
    (answers,) = pair.answers(["say otter now"], beam=20, n_best=20)
    said = {word for answer in answers for word in answer.text.split()}
    assert "otter" in said
    assert said <= {"yes", "otter", "say", "now", *words}
