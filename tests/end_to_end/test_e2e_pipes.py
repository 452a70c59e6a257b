"""`calque generate` between other programs: answers at once, bad input, and readers that go away."""

import contextlib
import os
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest
from toy_language import finish, start

# A busy machine may take its time; without an answer at all the tests end here.
START_SECONDS, ANSWER_SECONDS = 120.0, 10.0


def read_line(process: subprocess.Popen[bytes], seconds: float) -> bytes:
    """Return the next line of output, or what has come when the time is up."""
    assert process.stdout is not None
    line, limit = b"", time.monotonic() + seconds
    while not line.endswith(b"\n") and (left := limit - time.monotonic()) > 0:
        if select.select([process.stdout], [], [], left)[0]:
            piece = os.read(process.stdout.fileno(), 1)
            if not piece:
                break
            line += piece
    return line


def test_each_line_is_answered_before_the_next_is_sent(toy_model: Path) -> None:
    """Talk line by line without an end of file, as a program does; a blank line is answered as fast."""
    process = start("generate", str(toy_model), "--threads", "1")
    assert process.stdin is not None
    try:
        found = []
        for number, line in enumerate([b"one two\n", b"\n", b"three\n", b"one two\n"]):
            process.stdin.write(line)
            process.stdin.flush()
            found.append(read_line(process, ANSWER_SECONDS if number else START_SECONDS))
        assert all(answer.endswith(b"\n") for answer in found)
        assert [answer != b"\n" for answer in found] == [True, False, True, True]
        assert found[3] == found[0]
    finally:
        ended = finish(process)
    assert (ended.code, ended.out, ended.err) == (0, "", "")


def test_bad_input_ends_it_while_the_pipe_stays_open(toy_model: Path) -> None:
    """Exit 3 at once, without waiting for the end of the pipe and without a crash of Python at exit."""
    process = start("generate", str(toy_model), "--threads", "1")
    assert process.stdin is not None
    try:
        process.stdin.write(b"one\n\xff\n")
        process.stdin.flush()
        code = process.wait(timeout=START_SECONDS)
    finally:
        ended = finish(process)
    assert code == 3
    assert ended.out.count("\n") == 1
    assert ended.err.startswith("calque: standard input:2:0:")
    assert "Fatal" not in ended.err


@pytest.mark.parametrize("how", ["pipe", "recipe"])
def test_a_reader_that_goes_away_ends_it_quietly(how: str, toy_model: Path) -> None:
    """Exit 0 without a word, as `| head -1` expects: of a long answer and of a long listing."""
    process = start("recipe") if how == "recipe" else start("generate", str(toy_model), "--threads", "1")
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        if how == "pipe":
            process.stdin.write(b"one two three four\n")
            process.stdin.flush()
            assert read_line(process, START_SECONDS).endswith(b"\n")
        process.stdout.close()
        if how == "pipe":
            process.stdin.write(b"one\n" * 5_000)
            process.stdin.flush()
        code = process.wait(timeout=START_SECONDS)
        errors = process.stderr.read()
    finally:
        process.kill()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        process.stderr.close()
    assert (code, errors) == (0, b"")


def test_closed_standard_input_is_an_error_of_one_line(toy_model: Path) -> None:
    """Say what to give instead."""
    script = f"import sys; sys.stdin = None; from calque.cli.main import main; main(['generate', {str(toy_model)!r}])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=START_SECONDS, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("calque: standard input is closed")
