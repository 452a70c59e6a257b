"""Several sources and tags on real files: all commands read the same columns, and an error names a missing one."""

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from toy_language import BRIEF, DIGITS, TINY, Finished, settings

import calque
from calque.errors import DataError

Command = Callable[..., Finished]
WORDS = list(DIGITS)
COLUMNS = ('data.columns.source=["head", "digits"]', "data.columns.target=answer")
LEARNING = (
    *TINY,
    "train.max_epochs=12",
    "train.validate_every=100",
    "train.save_every=100",
    "train.batch_tokens=128",
    "text.joint=false",
)
PART = '{kind="gru", width=32, dropout=0.0}'
ENCODERS = f'model.encoder={{kind="several", encoders=[{PART}, {PART}]}}'
HIERARCHICAL = 'model.decoder.attention={kind="hierarchical", within="additive"}'
FAR = ("train.max_updates=6", "train.validate_every=3", "train.save_every=3", "train.validation_sentences=8")


def trained(folder: Path, data: Path, *options: str) -> Path:
    """Train a GRU and return its folder."""
    from calque.cli.main import main

    named = ["--model", "gru", "--size", "tiny", "--threads", "1", "--seed", "4", "--quiet"]
    with pytest.raises(SystemExit) as ended:
        main(["train", str(data), "--out", str(folder), *named, *settings(options)])
    assert ended.value.code == 0
    return folder


def answer_to(head: str, digits: Sequence[str]) -> str:
    """Return the right answer to two sources."""
    return "".join(DIGITS[word] for word in (head, *digits))


def write_choices(path: Path, count: int = 500) -> Path:
    """Write lines of two sources, a digit and some digits: the answer is the digit, then the others in their order."""
    draw = random.Random(1)
    lines = ["answer\tdigits\thead\n"]
    for _ in range(count):
        head, digits = draw.choice(WORDS), draw.choices(WORDS, k=draw.randint(1, 3))
        lines.append(f"{answer_to(head, digits)}\t{' '.join(digits)}\t{head}\n")
    path.write_text("".join(lines), encoding="utf-8")
    return path


def write_tagged(path: Path, count: int = 500) -> Path:
    """Write digits as Chinese or as figures, as the tag says."""
    draw = random.Random(2)
    rows = []
    for _ in range(count):
        digits, tag = draw.choices(WORDS, k=draw.randint(1, 3)), draw.choice(["zh", "figures"])
        answer = "".join(DIGITS[word] if tag == "zh" else str(WORDS.index(word)) for word in digits)
        rows.append({"to": tag, "words": " ".join(digits), "answer": answer})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def two_sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model of an encoder for each of two sources, joined by hierarchical attention."""
    folder = tmp_path_factory.mktemp("sources")
    data = write_choices(folder / "choices.tsv")
    return trained(folder / "model", data, *LEARNING, *COLUMNS, ENCODERS, HIERARCHICAL)


@pytest.fixture(scope="module", params=["source", "target"])
def tagged(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model whose tag says how to write; it stands on either side."""
    folder = tmp_path_factory.mktemp(f"tagged-{request.param}")
    names = ("data.columns.source=words", "data.columns.target=answer", "data.columns.tag=to")
    data = write_tagged(folder / "digits.jsonl")
    return trained(folder / "model", data, *LEARNING, *names, f"text.tag_side={request.param}")


def test_both_sources_are_read(two_sources: Path) -> None:
    model = calque.load(two_sources)
    asked = [(head, " ".join(words)) for head in WORDS[::3] for words in zip(WORDS, WORDS[3:], strict=False)]
    answers = model(["\t".join(pair) for pair in asked])
    right = [answer_to(head, digits.split()) for head, digits in asked]
    assert sum(map(str.__eq__, answers, right)) >= 0.9 * len(right)
    assert model([{"digits": digits, "head": head} for head, digits in asked]) == answers
    assert model({"head": "five", "digits": "one two"}) == model("five\tone two")


def test_lines_and_objects_are_answered_alike(command: Command, two_sources: Path) -> None:
    lines = "six\tone two\n\t\nfive\tsix nine\n"
    objects = '{"head": "six", "digits": "one two"}\n\n{"digits": "six nine", "head": "five"}\n'
    by_line = command("generate", two_sources, stdin=lines.encode())
    by_name = command("generate", two_sources, stdin=objects.encode())
    assert by_line.code == by_name.code == 0
    assert by_line.out == by_name.out
    answers = by_line.out.split("\n")
    assert len(answers) == 4
    assert answers[0]
    assert not answers[1]
    shown = command("generate", two_sources, "--format", "tsv", stdin=lines.encode())
    assert shown.out == f"six\tone two\t{answers[0]}\n\t\t\nfive\tsix nine\t{answers[2]}\n"


def test_a_line_of_one_column_is_refused_by_its_number(command: Command, two_sources: Path) -> None:
    done = command("generate", two_sources, stdin=b"six\tone two\nfive\tsix\njust text\nsix\tone\n")
    assert done.code == 3
    assert len(done.out.splitlines()) == 2
    assert "standard input:3: 1 column, but this model reads 2: head, digits; put tabs between" in done.err
    done = command("generate", two_sources, "six\tone", "just text")
    assert done.code == 3
    assert "text 2: 1 column" in done.err
    with pytest.raises(DataError, match="1 column, but this model reads 2"):
        calque.load(two_sources)("just text")
    with pytest.raises(DataError, match='no "digits"; the keys are "head"'):
        calque.load(two_sources)({"head": "six"})


def test_eval_takes_the_columns_of_the_run(command: Command, two_sources: Path) -> None:
    done = command("eval", two_sources, two_sources.parent / "choices.tsv", "--metric", "exact", "--json")
    assert done.code == 0
    assert json.loads(done.out)["scores"][0]["value"] > 80


def test_the_folder_says_what_a_line_holds(two_sources: Path) -> None:
    assert json.loads((two_sources / "text" / "text.json").read_text())["inputs"]["sources"] == ["head", "digits"]


@pytest.mark.parametrize("encoder", ["one", "several"])
@pytest.mark.parametrize("head", ["softmax", "pointer"])
def test_every_way_of_joining_trains_and_answers(command: Command, tmp_path: Path, encoder: str, head: str) -> None:
    """Read both sources by one encoder as well as by several; copy from either."""
    options = [
        *BRIEF,
        *COLUMNS,
        "text.joint=false",
        f"model.head.kind={head}",
        f"text.copying={str(head == 'pointer').lower()}",
    ]
    folder = trained(
        tmp_path / "m", write_choices(tmp_path / "c.tsv", 80), *options, *[ENCODERS] * (encoder == "several")
    )
    done = command("generate", folder, "six\tone heron two", "five\t", "\tone")
    assert done.code == 0
    assert len(done.out.splitlines()) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("data.columns.source=digits", COLUMNS[1], ENCODERS),
            "has 2 encoders, but data.columns.source names 1 source; give every source one encoder",
        ),
        ((*COLUMNS, HIERARCHICAL), "hierarchical, which attends to several sources, but model.encoder.kind is gru"),
        ((*COLUMNS, ENCODERS, 'model.decoder.attention={kind="hierarchical", sources=3}'), "sources is 3, but data."),
        ((*COLUMNS[:1], "data.columns.target=head"), '"head" is named twice'),
    ],
)
def test_parts_that_do_not_fit_the_sources_are_refused(
    command: Command, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    data = write_choices(tmp_path / "c.tsv", 50)
    done = command("train", data, "--out", tmp_path / "m", "--model", "gru", *settings(["text.joint=false", *options]))
    assert done.code == 2
    assert message in done.err
    assert len(done.err.split("calque: ")[-1].splitlines()) <= 6


def test_a_tag_says_how_to_write(command: Command, tagged: Path) -> None:
    lines = [" ".join(words) for words in zip(WORDS, WORDS[4:], strict=False)]
    asked = "".join(f"{line}\n" for line in lines).encode()
    for tag, write in (("zh", DIGITS.__getitem__), ("figures", lambda word: str(WORDS.index(word)))):
        done = command("generate", tagged, "--tag", tag, stdin=asked)
        assert done.code == 0
        answers = done.out.splitlines()
        right = ["".join(map(write, line.split())) for line in lines]
        assert sum(map(str.__eq__, answers, right)) >= 0.8 * len(right)
        # The same, chosen by a column, by a key and in Python.
        by_column = command("generate", tagged, *(f"{tag}\t{line}" for line in lines))
        assert by_column.out == done.out
        by_key = command("generate", tagged, *(json.dumps({"words": line, "to": tag}) for line in lines))
        assert by_key.out == done.out
        model = calque.load(tagged)
        assert model(lines, tag=tag) == answers
        assert model([{"words": line} for line in lines], tag=tag) == answers
        assert model({"words": lines[0], "to": tag}) == answers[0]


def test_an_empty_line_gives_an_empty_line_with_any_tag(command: Command, tagged: Path) -> None:
    assert command("generate", tagged, stdin=b"zh\t\n\nzh\tone\n").out.split("\n")[:2] == ["", ""]
    assert command("generate", tagged, "--tag", "zh", stdin=b"\none\n").out.split("\n")[0] == ""


def test_tags_that_there_are_not_are_refused(command: Command, tagged: Path, toy_model: Path) -> None:
    done = command("generate", tagged, "--tag", "figure", "one")
    assert done.code == 2
    assert '--tag figure: this model knows figures, zh. Did you mean "figures"?' in done.err
    done = command("generate", toy_model, "--tag", "zh", "one")
    assert done.code == 2
    assert "this model has no tags" in done.err
    done = command("generate", tagged, stdin=b"zh\tone\nfr\tone\n")
    assert done.code == 3
    assert 'standard input:2: the to "fr" is unknown; the tags are figures, zh' in done.err
    done = command("generate", tagged, "one two")
    assert done.code == 3
    assert "1 column, but this model reads 2: to, words" in done.err
    with pytest.raises(DataError, match="this model has no tags"):
        calque.load(toy_model)("one", tag="zh")


def test_long_lines_keep_their_tag_in_every_part(tagged: Path) -> None:
    model = calque.load(tagged)
    words = WORDS * 12
    assert len(words) > model.max_length
    sides = {"zh": "".join(DIGITS.values()), "figures": "0123456789"}
    for tag, letters in sides.items():
        answered = model.run([" ".join(words)], tag=tag)
        assert answered.long_lines == 1
        answer = answered.answers[0][0].text.replace(" ", "")
        assert len(answer) > 2
        assert sum(char in letters for char in answer) >= 0.9 * len(answer)


def test_an_unknown_tag_in_validation_data_is_named(command: Command, tmp_path: Path) -> None:
    data, valid = write_tagged(tmp_path / "d.jsonl", 40), tmp_path / "v.jsonl"
    valid.write_text('{"to": "zh", "words": "one", "answer": "一"}\n{"to": "fr", "words": "one", "answer": "un"}\n')
    names = ["data.columns.source=words", "data.columns.target=answer", "data.columns.tag=to"]
    done = command("train", data, "--valid", valid, "--out", tmp_path / "m", *settings([*BRIEF, *names, *FAR]))
    assert done.code == 3
    assert 'line 2 of the data: the to "fr" is unknown; the tags are figures, zh' in done.err


def test_a_run_starts_from_word_vectors(command: Command, tmp_path: Path, toy_data: Path) -> None:
    """Tell how many were found; the finished model does not need the file, and another width is refused at once."""
    path = tmp_path / "v.vec"
    path.write_text("3 32\n" + "".join(f"{word} {' '.join(['0.5'] * 32)} \n" for word in ("one", "two", "heron")))
    out = tmp_path / "model"
    arguments = ("train", toy_data, "--model", "gru", "--size", "tiny", "--threads", "1")
    done = command(*arguments, "--out", out, *settings([*BRIEF, f"text.source_vectors={path}"]))
    assert done.code == 0
    assert "source vectors: 2 of 14 tokens are among the 3 words of" in done.err
    path.unlink()
    assert command("generate", out, "one two").code == 0
    path.write_text("one 1 2 3\n")
    done = command(*arguments, "--out", tmp_path / "b", *settings([*BRIEF, f"text.target_vectors={path}"]))
    assert done.code == 2
    assert "vectors of 3 numbers, but model.decoder.width is 32; set model.decoder.width = 3" in done.err
    path.write_text(f"one {'1 ' * 32}\ntwo 1\n")
    done = command(*arguments, "--out", tmp_path / "c", *settings([*BRIEF, f"text.source_vectors={path}"]))
    assert done.code == 3
    assert f"{path}:2: 1 numbers, but the first vector of the file has 32" in done.err
