"""The work of `calque generate`: read texts, a file or a pipe; write answers in the chosen form."""

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
from calque.predict.predictor import Answered, Predictor
from calque.predict.stream import MOST_LINES, pending_lines
from calque.predict.writer import EMPTY, Answer, one_line
from calque.report.counter import counter_for
from calque.text.graph.layout import SourceError
from calque.text.inputs import InputLine
from calque.text.too_long import ANSWERED

CHUNK_LINES = 4 * MOST_LINES


@dataclass(frozen=True)
class Writing:
    """Options of search and output. `beam` None uses the model's, `batch` 0 chooses by length.

    `tag` is the tag of every line, unless lines contain one; `space` is what an ensemble averages.
    """

    beam: int | None
    n_best: int
    scores: bool
    form: str
    batch: int
    tag: str = ""
    space: Space = "prob"
    engine: str = "auto"

    def text(self, lines: Sequence[str], answered: Answered) -> str:
        """Return the output for some lines of input."""
        found = zip(lines, answered.lines, answered.answers, strict=True)
        return "".join(f"{row}\n" for line, parsed, answers in found for row in self._rows(line, parsed, answers))

    def _rows(self, line: str, parsed: InputLine, answers: list[Answer]) -> list[str]:
        if self.form == "jsonl":
            found = [{"text": answer.text, "score": round(answer.score, 4)} for answer in answers]
            return [json.dumps({"source": line, "answers": found}, ensure_ascii=False)]
        columns = [line] if self.tag or len(parsed.columns) == 1 else parsed.columns
        rows = []
        # Every line gets the same number of rows, so that a program can assign them; an empty line has only one answer.
        for answer in [*answers, *[EMPTY] * (self.n_best - len(answers))]:
            cells = [one_line(text) for text in columns] if self.form == "tsv" else []
            cells += [f"{answer.score:.4f}"] if self.scores else []
            rows.append("\t".join([*cells, answer.text]))
        return rows


def generate_texts(
    models: list[str], texts: list[str], output: str | None, writing: Writing, threads: int | None, quiet: bool
) -> None:
    """Answer texts given on the command line with a model, or several as an ensemble."""
    if not quiet and all(map(os.path.isfile, texts)):
        _warn(f'hint: "{texts[0]}" is answered as text; to answer the lines of the file use --input "{texts[0]}"')
    predictor = _open(models, writing, threads, quiet)
    with _target(output) as write:
        try:
            answered = predictor.run(texts, writing.batch, writing.tag)
        except SourceError as error:
            raise DataError(error.message, f"text {error.number + 1}") from None
        write(writing.text(texts, answered))
    _warn_long(answered.long_lines, predictor)


def generate_lines(
    models: list[str], source: str | None, output: str | None, writing: Writing, threads: int | None, quiet: bool
) -> None:
    """Answer the lines of a file, with a progress display, or of standard input as they arrive."""
    file = open_lines(source) if source and source != "-" else None
    name = file.name if file else STANDARD_INPUT
    predictor = _open(models, writing, threads, quiet)
    total = file.count() if file else 0
    groups = _chunks(file.lines()) if file else pending_lines(_standard_input(), name)
    is_one_text = predictor.text.inputs.is_one_text and predictor.text.layout.is_line
    done, long_lines, tabs = 0, 0, 0
    with _target(output) as write, counter_for(sys.stderr, quiet or not file, total) as advance:
        for lines in groups:
            try:
                answered = predictor.run(lines, writing.batch, writing.tag)
            except SourceError as error:
                # The lines before it are still answered.
                before = lines[: error.number]
                write(writing.text(before, predictor.run(before, writing.batch, writing.tag)))
                raise DataError(error.message, name, done + error.number + 1) from None
            write(writing.text(lines, answered))
            advance(len(lines))
            done, long_lines = done + len(lines), long_lines + answered.long_lines
            tabs += sum("\t" in line.strip() for line in lines) if is_one_text else 0
    _warn_long(long_lines, predictor)
    if tabs and not quiet:
        _warn(
            f"warning: {tabs:,} of {done:,} lines contain a tab, but this model reads one text per line: each was"
            " answered as one text, with all its columns. Pass only the source column, for example with cut -f1."
        )


def _open(models: list[str], writing: Writing, threads: int | None, quiet: bool) -> Predictor:
    use_threads(threads)
    n_best = None if writing.n_best == 1 else writing.n_best
    predictor = load(models, beam=writing.beam, n_best=n_best, space=writing.space, engine=writing.engine)
    known = predictor.text.inputs.tags
    if writing.tag and writing.tag not in known:
        what = f"this model knows {', '.join(known)}" if known else "this model has no tags"
        raise UsageError(f"--tag {writing.tag}: {what}.{did_you_mean(writing.tag, known)}")
    say_place(predictor, quiet)
    if writing.engine != "auto" and not quiet:
        _warn(predictor.engine_said)
    return predictor


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
    """Yield a function that writes text to standard output, or to a file that appears only when it is complete."""
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
    """Return standard input as a separate file object: Python aborts if it closes one at exit that a thread reads."""
    if sys.stdin is None:
        raise UsageError("standard input is closed: give texts, or a file with --input")
    return os.fdopen(sys.stdin.fileno(), "rb", closefd=False)


def _flushed(file: TextIO, text: str) -> None:
    file.write(text)
    file.flush()


def _warn(text: str) -> None:
    print(text, file=sys.stderr)  # noqa: T201 - a message of the command line


def _warn_long(count: int, predictor: Predictor) -> None:
    if count:
        reader = predictor.reader
        what = f"{count:,} line was" if count == 1 else f"{count:,} lines were"
        why = f"more than {reader.max_length} tokens, the maximum in training"
        _warn(f"{what} {ANSWERED[reader.too_long]}: {why}")
