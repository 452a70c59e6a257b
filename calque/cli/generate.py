"""The work behind `calque generate`: texts, files or a pipe in; answers in the chosen form out."""

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TextIO

from calque.api import load
from calque.cli.common import say_place, use_threads
from calque.data.files.lines import STANDARD_INPUT, open_lines
from calque.engines.ensemble import Space
from calque.errors import DataError, UsageError, did_you_mean
from calque.predict.predictor import Answer, Predictor, one_line
from calque.predict.stream import MOST_LINES, answer_stream
from calque.predict.threads import Threads
from calque.predict.workers import spread
from calque.recipe.stored import search_options
from calque.report.counter import counter_for
from calque.text.graph.layout import SourceError
from calque.text.inputs import BETWEEN, Inputs

CHUNK_LINES = 4 * MOST_LINES


@dataclass(frozen=True)
class Writing:
    """Hold how answers are searched and written; `beam` None takes the model's, `batch` 0 chooses.

    `tag` is that of every line, where lines do not hold one; `space` is that of an ensemble; `engine` searches.
    """

    beam: int | None
    n_best: int
    scores: bool
    form: str
    batch: int
    tag: str = ""
    space: Space = "prob"
    engine: str = "auto"

    def lines(self, source: str, answers: list[Answer], columns: Sequence[str] = ()) -> list[str]:
        """Return the lines of output for one line of input; `columns` are its own where it has several."""
        if self.form == "jsonl":
            found = [{"text": answer.text, "score": round(answer.score, 4)} for answer in answers]
            return [json.dumps({"source": source, "answers": found}, ensure_ascii=False)]
        lines = []
        # As many lines for every line, so that a reader can count them off: a blank has one answer, a short list less.
        for answer in [*answers, *[Answer("", 0.0, 0.0)] * (self.n_best - len(answers))]:
            cells = [one_line(text) for text in columns or (source,)] if self.form == "tsv" else []
            cells += [f"{answer.score:.4f}"] if self.scores else []
            lines.append("\t".join([*cells, answer.text]))
        return lines


def generate_texts(
    models: list[str], texts: list[str], output: str | None, writing: Writing, threads: int | None, quiet: bool
) -> None:
    """Answer texts given on the command line with a model, or several as an ensemble."""
    for number, text in enumerate(texts, start=1):
        if not text.isprintable() and any("\ud800" <= char <= "\udfff" for char in text):
            raise DataError("it is not UTF-8; set the terminal to UTF-8", f"text {number}")
    predictor = _open(models, writing, threads, quiet)
    if threads is None:
        Threads(predictor).fit(texts, lambda: _answer(predictor, writing, texts))
    with _target(output) as write:
        try:
            write("".join(f"{line}\n" for line in _answer(predictor, writing, texts)))
        except SourceError as error:
            raise DataError(error.message, f"text {error.number + 1}") from None
    _say_long(predictor)


def generate_files(
    models: list[str], source: str | None, output: str | None, writing: Writing, threads: int | None, quiet: bool
) -> None:
    """Answer the lines of a file, showing progress, or of standard input as they come."""
    file = open_lines(source) if source and source != "-" else None
    predictor = _open(models, writing, threads, quiet)
    done = 0
    chosen = Threads(predictor) if file is None and threads is None else None
    with _target(output) as write:

        def answer(lines: list[str]) -> list[str]:
            nonlocal done
            if chosen:
                chosen.fit(lines, lambda: _answer(predictor, writing, lines))
            try:
                answered = _answer(predictor, writing, lines)
            except SourceError as error:
                # What stands before the line is answered all the same.
                write("".join(f"{line}\n" for line in _answer(predictor, writing, lines[: error.number])))
                name = file.name if file else STANDARD_INPUT
                raise DataError(error.message, name, done + error.number + 1) from None
            done += len(lines)
            return answered

        if file is None:
            answer_stream(_standard_input(), STANDARD_INPUT, answer, write)
        else:
            with counter_for(sys.stderr, quiet, file.count()) as advance, spread(predictor):
                for chunk in _chunks(file.lines()):
                    write("".join(f"{line}\n" for line in answer(chunk)))
                    advance(len(chunk))
    _say_long(predictor)


def _open(models: list[str], writing: Writing, threads: int | None, quiet: bool) -> Predictor:
    options = search_options(models[0], beam=writing.beam, n_best=writing.n_best)
    use_threads(threads)
    predictor = load(models, options, space=writing.space, engine=writing.engine)
    known = predictor.text.inputs.tags
    if writing.tag and writing.tag not in known:
        what = f"this model knows {', '.join(known)}" if known else "this model knows no tags"
        raise UsageError(f"--tag {writing.tag}: {what}.{did_you_mean(writing.tag, known)}")
    say_place(predictor, quiet)
    if writing.engine != "auto" and not quiet:
        print(predictor.engine_said, file=sys.stderr)  # noqa: T201
    return predictor


def _answer(predictor: Predictor, writing: Writing, lines: list[str]) -> list[str]:
    inputs = predictor.text.inputs
    asked = [inputs.to_line(line, writing.tag) if line.strip() else line for line in lines] if writing.tag else lines
    answers = predictor.answers(asked, writing.batch)
    answered = []
    for line, found in zip(lines, answers, strict=True):
        columns = () if inputs.is_one_text or writing.tag else _columns(inputs, line)
        answered += writing.lines(line, found, columns)
    return answered


def _columns(inputs: Inputs, line: str) -> Sequence[str]:
    # Nobody has counted the columns of a blank line.
    return line.split(BETWEEN) if inputs.is_blank(line) else inputs.cells(line)


def _chunks(lines: Iterator[str | DataError]) -> Iterator[list[str]]:
    chunk: list[str] = []
    for line in lines:
        if isinstance(line, DataError):
            raise line
        chunk.append(line)
        if len(chunk) == CHUNK_LINES:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


@contextlib.contextmanager
def _target(output: str | None) -> Iterator[Callable[[str], None]]:
    """Give a function that writes text to a file, which appears only when it is whole, or to standard output."""
    if output is None or output == "-":
        sys.stdout.reconfigure(encoding="utf-8", newline="\n")  # type: ignore[union-attr]
        yield lambda text: _flushed(sys.stdout, text)
        return
    path = Path(output)
    if path.is_dir() or not path.parent.is_dir():
        raise UsageError(f"--output {output}: {'it is a folder' if path.is_dir() else 'its folder does not exist'}")
    part = path.with_name(f"{path.name}.part-{os.getpid()}")
    try:
        with part.open("w", encoding="utf-8", newline="\n") as file:
            yield lambda text: _flushed(file, text)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _standard_input() -> BinaryIO:
    """Return standard input as a file of its own: Python aborts if it closes, at exit, one that a thread reads."""
    if sys.stdin is None:
        raise UsageError("standard input is closed: give texts, or a file with --input")
    return os.fdopen(sys.stdin.fileno(), "rb", closefd=False)


def _flushed(file: TextIO, text: str) -> None:
    file.write(text)
    file.flush()


def _say_long(predictor: Predictor) -> None:
    if predictor.long_lines:
        limit = predictor.max_length
        print(  # noqa: T201 — a warning to the person at the terminal
            f"lines of more than {limit} tokens, the most this model was trained on, answered in parts:"
            f" {predictor.long_lines:,}",
            file=sys.stderr,
        )
