"""`calque generate` in this process: lines in, lines out, in every form that it reads and writes."""

import json
import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from toy_language import Finished, pairs, reading

import calque
from calque.api import load
from calque.batch import Source
from calque.model import Seq2Seq

Command = Callable[..., Finished]
LINES = ["one two", "", "three", "   ", "seven eight nine", "four"]


def generate(command: Command, model: Path, *arguments: object, stdin: bytes = b"") -> Finished:
    """Run the command on one thread."""
    return command("generate", model, *arguments, "--threads", 1, stdin=stdin)


def answers(command: Command, model: Path, lines: list[str], *arguments: object) -> list[str]:
    """Return the lines of output for lines from a pipe."""
    done = generate(command, model, *arguments, stdin="".join(f"{line}\n" for line in lines).encode())
    assert done.code == 0, done.err
    assert done.out.endswith("\n")
    return done.out.split("\n")[:-1]


def test_lines_keep_number_and_order_and_blanks_stay_blank(toy_model: Path, command: Command) -> None:
    """Answer a pipe line by line; a blank line, and only a blank line, gets a blank answer."""
    found = answers(command, toy_model, LINES)
    assert [bool(line) for line in found] == [bool(line.strip()) for line in LINES]
    assert found == [answers(command, toy_model, [line])[0] for line in LINES]
    assert sum(answer == reading(line.split()) for line, answer in zip(LINES, found, strict=True)) >= 4


def test_arguments_file_and_pipe_give_the_same(toy_model: Path, command: Command, tmp_path: Path) -> None:
    """Answer texts, a file, and standard input under both its names, alike."""
    text = "".join(f"{line}\n" for line in LINES)
    (tmp_path / "lines.txt").write_text(text)
    found = {
        generate(command, toy_model, *LINES).out,
        generate(command, toy_model, "--input", tmp_path / "lines.txt").out,
        generate(command, toy_model, stdin=text.encode()).out,
        generate(command, toy_model, "-", stdin=text.encode()).out,
    }
    assert len(found) == 1
    assert found.pop().count("\n") == len(LINES)


def test_an_argument_that_names_a_file_stays_text(
    toy_model: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never open an argument: `one` is a word even where a file bears its name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one").write_text("two\nthree\n")
    done = generate(command, toy_model, "one")
    assert done.out == answers(command, toy_model, ["one"])[0] + "\n"
    # Most likely the lines of the file were meant.
    assert '--input "one"' in done.err
    for others in (["two"], ["one", "two"], ["one", "--quiet"], ["x" * 5_000]):
        assert generate(command, toy_model, *others).err.count("--input") == 0


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
@pytest.mark.parametrize("last", [True, False])
def test_line_ends_and_marks_change_nothing(end: bytes, last: bool, toy_model: Path, command: Command) -> None:
    """Take CRLF, a byte-order mark and a last line without its end for what they are."""
    text = b"\xef\xbb\xbf" + end.join(line.encode() for line in LINES) + (end if last else b"")
    done = generate(command, toy_model, stdin=text)
    assert done.out.split("\n")[:-1] == answers(command, toy_model, LINES)


def test_no_input_gives_no_output(toy_model: Path, command: Command) -> None:
    """End well on an empty pipe."""
    assert generate(command, toy_model) == Finished(0, "", "")


def test_n_best_gives_as_many_lines_for_each(toy_model: Path, command: Command) -> None:
    """Put the best first, and write N lines for blank lines too, so that a reader can count them off."""
    best = answers(command, toy_model, LINES)
    three = answers(command, toy_model, LINES, "--n-best", 3)
    assert three[::3] == best
    assert len(three) == 3 * len(LINES)
    assert three[3:6] == ["", "", ""]
    assert len(set(three[6:9])) == 3


def test_scores_fall_along_the_list(toy_model: Path, command: Command) -> None:
    """Write score and answer between a tab; sorted, and never above zero."""
    rows = [line.split("\t") for line in answers(command, toy_model, ["one two"], "--n-best", 4, "--scores")]
    assert all(len(row) == 2 for row in rows)
    scores = [float(score) for score, _ in rows]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] <= 0.0


def test_tsv_repeats_the_source(toy_model: Path, command: Command) -> None:
    """Write source and answer, a tab in the source being a blank, so that every row has its columns."""
    rows = [line.split("\t") for line in answers(command, toy_model, ["one\ttwo", "", "three"], "--format", "tsv")]
    assert [row[0] for row in rows] == ["one two", "", "three"]
    assert [row[1] for row in rows] == answers(command, toy_model, ["one\ttwo", "", "three"])
    assert all(len(row) == 2 for row in rows)


def test_lines_with_tabs_are_counted_for_a_model_of_one_text(toy_model: Path, command: Command, tmp_path: Path) -> None:
    """A file of pairs is most likely not what was meant: each line is answered all the same."""
    text = "one\ttwo\n\n three\t\nfour\t五\n"
    (tmp_path / "pairs.tsv").write_text(text)
    filed = generate(command, toy_model, "--input", tmp_path / "pairs.tsv")
    piped = generate(command, toy_model, stdin=text.encode())
    for done in (filed, piped):
        assert (done.code, done.out.count("\n")) == (0, 4)
        assert "2 of 4 lines contain a tab" in done.err
    assert generate(command, toy_model, "--quiet", stdin=text.encode()).err == ""
    assert generate(command, toy_model, stdin=b"one two\nthree\n").err == ""


def test_jsonl_holds_every_answer(toy_model: Path, command: Command) -> None:
    """Write one object per line of input, with the unchanged source."""
    rows = [json.loads(line) for line in answers(command, toy_model, LINES, "--format", "jsonl", "--n-best", 2)]
    assert [row["source"] for row in rows] == LINES
    assert [row["answers"][0]["text"] for row in rows] == answers(command, toy_model, LINES)
    assert len(rows[0]["answers"]) == 2
    assert rows[0]["answers"][0]["score"] >= rows[0]["answers"][1]["score"]


def test_beam_one_is_greedy_and_wider_scores_no_worse(toy_model: Path, command: Command) -> None:
    """Find with a wider beam what scores at least as well, over many lines together."""
    lines = [source for source, _ in pairs(60, seed=8)]
    totals = {}
    for width in (1, 8):
        found = answers(command, toy_model, lines, "--beam", width, "--scores")
        totals[width] = sum(float(line.split("\t")[0]) for line in found)
    assert totals[8] >= totals[1]


def test_output_appears_only_when_it_is_whole(toy_model: Path, command: Command, tmp_path: Path) -> None:
    """Write to a file what would go to standard output; leave the old file when the input is bad."""
    out = tmp_path / "out.txt"
    done = generate(command, toy_model, *LINES, "--output", out)
    assert done == Finished(0, "", "")
    before = out.read_text()
    assert before.split("\n")[:-1] == answers(command, toy_model, LINES)
    failed = generate(command, toy_model, "--output", out, stdin=b"one\ntwo\n\xff\n")
    assert failed.code == 3
    assert out.read_text() == before
    assert [path.name for path in tmp_path.iterdir() if "part" in path.name] == []


@pytest.mark.parametrize("target", ["no/such/folder/out.txt", "."])
def test_an_output_that_cannot_be_is_refused(
    target: str, toy_model: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Name the path and what is wrong with it."""
    monkeypatch.chdir(tmp_path)
    done = generate(command, toy_model, "one", "--output", target)
    assert done.code == 2
    assert f"--output {target}" in done.err


def test_bad_utf8_names_line_and_byte(toy_model: Path, command: Command, tmp_path: Path) -> None:
    """Answer what came before; exit 3 naming source, line and byte, for a pipe and for a file."""
    text = b"one\ntwo\nthree \xff four\nfive\n"
    piped = generate(command, toy_model, stdin=text)
    assert piped.code == 3
    assert piped.out.count("\n") == 2
    assert "standard input:3:6: byte 0xFF" in piped.err
    (tmp_path / "bad.txt").write_bytes(text)
    filed = generate(command, toy_model, "--input", tmp_path / "bad.txt")
    assert filed.code == 3
    assert "bad.txt:3:6: byte 0xFF" in filed.err
    assert "iconv" in filed.err


def test_an_argument_that_is_no_text_is_refused(toy_model: Path, command: Command) -> None:
    """Say which argument holds bytes that are no UTF-8."""
    done = generate(command, toy_model, "one", os.fsdecode(b"tw\xff"))
    assert done.code == 3
    assert "text 2" in done.err


def test_a_very_long_line_is_answered_in_parts_and_reported(toy_model: Path, command: Command) -> None:
    """Answer all of it on one line, and say so; its neighbours do not change."""
    long = " ".join(word for source, _ in pairs(200) for word in source.split())
    done = generate(command, toy_model, stdin=f"one two\n{long}\nthree\n".encode())
    found = done.out.split("\n")
    assert [found[0], found[2]] == answers(command, toy_model, ["one two", "three"])
    # The answers to the parts are joined by blanks.
    assert found[1].count(" ") >= 2
    assert "answered in parts" in done.err
    assert done.code == 0


def test_texts_and_a_file_together_are_refused(toy_model: Path, command: Command, toy_data: Path) -> None:
    """Drop neither of them silently."""
    done = generate(command, toy_model, "one", "--input", toy_data)
    assert done.code == 2
    assert "--input" in done.err


@pytest.mark.parametrize("option", [("--beam", 0), ("--n-best", 0), ("--batch", -1), ("--format", "xml")])
def test_impossible_options_are_refused(option: tuple[str, object], toy_model: Path, command: Command) -> None:
    """End at once, in a few lines."""
    done = generate(command, toy_model, "one", *option)
    assert done.code == 2
    assert "Traceback" not in done.err
    assert len(done.err.splitlines()) <= 6


def test_no_thread_is_refused(toy_model: Path, command: Command) -> None:
    """Name the least number."""
    done = command("generate", toy_model, "one", "--threads", -1)
    assert done.code == 2
    assert "--threads" in done.err


def test_an_engine_is_named_when_it_was_asked_for(toy_model: Path, command: Command, tmp_path: Path) -> None:
    """Search with each engine that takes the model; say which it is, and which field keeps another out."""
    plain = generate(command, toy_model, *LINES)
    for name in ("auto", "eager", "int8"):
        done = generate(command, toy_model, *LINES, "--engine", name)
        assert done.code == 0
        assert len(done.out.split("\n")) == len(plain.out.split("\n"))
        assert ("eager: " in done.err, "int8: " in done.err) == (name == "eager", name == "int8")
    (tmp_path / "few.tsv").write_text("".join(f"{source}\t{target}\n" for source, target in pairs(5, seed=9)))
    scored = command("eval", toy_model, tmp_path / "few.tsv", "--engine", "int8", "--threads", 1)
    assert scored.code == 0
    assert "int8: " in scored.err
    refused = generate(command, toy_model, "one", "--engine", "fused")
    assert refused.code == 2
    assert "model.decoder.kind" in refused.err


@pytest.mark.parametrize("how", ["text", "pipe", "file"])
def test_few_functions_stand_between_the_command_and_the_search(
    how: str, toy_model: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader of the code follows a line from `generate` to the search through at most six functions."""
    (tmp_path / "lines.txt").write_text("one two\n")
    package = str(Path(calque.__file__).parent)
    stacks: list[list[str]] = []
    start = Seq2Seq.start

    def watched(self: Seq2Seq, source: Source) -> Any:
        own = [frame.name for frame in traceback.extract_stack() if frame.filename.startswith(package)]
        stacks.append(own[len(own) - own[::-1].index("generate") - 1 :])
        return start(self, source)

    monkeypatch.setattr(Seq2Seq, "start", watched)
    given = {"text": ["one two"], "pipe": [], "file": ["--input", tmp_path / "lines.txt"]}[how]
    assert generate(command, toy_model, *given, stdin=b"one two\n").code == 0
    (stack,) = stacks
    assert stack[0] == "generate"
    assert stack.index("search") <= 5, stack


def test_many_lines_are_answered_by_several_processes_alike(toy_model: Path, command: Command, tmp_path: Path) -> None:
    """Answer a file by two processes as by one, in order; Python answers the same."""
    lines = [source for source, _ in pairs(300, seed=8)]
    (tmp_path / "lines.txt").write_text("".join(f"{line}\n" for line in lines))
    outs = []
    for threads in (1, 2):
        done = command("generate", toy_model, "--input", tmp_path / "lines.txt", "--threads", threads, "--batch", 16)
        assert done.code == 0, done.err
        outs.append(done.out)
    assert outs[0] == outs[1]
    assert outs[0].count("\n") == 300
    assert load(toy_model)(lines) == outs[0].splitlines()
