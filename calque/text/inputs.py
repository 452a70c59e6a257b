"""What a line of input holds where it is more than one text: several sources, and a tag before them, tabs between.

Each source is read by itself; together they are one row of tokens, in which </s> closes each source but the last.
"""

import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from pydantic import Field, field_validator

from calque.config import Config
from calque.errors import DataError, did_you_mean
from calque.ids import EOS
from calque.text.graph.graph import graph_from, write_graph
from calque.text.graph.layout import SourceError
from calque.text.identity import is_blank
from calque.text.source import SourceIds, numbered_forms
from calque.text.tokenizers.tags import TaggedTokenizer
from calque.text.tokenizers.tokenizer import MAX_ENTRY_BYTES, Tokenizer, well_formed

Side = Literal["source", "target"]
BETWEEN = "\t"
# More are hardly tags: most likely another column was named.
MAX_TAGS = 1_000
MAX_SOURCES = 64


class Inputs(Config):
    """Name the sources of a line, and say where a tag goes; saved in text.json."""

    sources: tuple[str, ...] = Field(("source",), min_length=1, max_length=MAX_SOURCES)
    """Names of the sources, in their order."""
    tag: str = ""
    """Name of the tag; empty for none."""
    tag_side: Side = "source"
    """Where the tag stands: before the source, or before the target, where search is made to begin with it."""
    tags: tuple[str, ...] = Field((), max_length=MAX_TAGS)
    """The tags that there are."""

    @field_validator("tags")
    @classmethod
    def _are_tags(cls, tags: tuple[str, ...]) -> tuple[str, ...]:
        for tag in tags:
            if not tag or tag.split("\n") != [tag] or BETWEEN in tag or tag != tag.strip() or well_formed(tag) != tag:
                raise ValueError(f"{tag!r} is no tag")
            if len(tag.encode()) > MAX_ENTRY_BYTES:
                raise ValueError(f"a tag is longer than {MAX_ENTRY_BYTES} bytes")
        if len(set(tags)) < len(tags):
            raise ValueError("a tag is there twice")
        return tags

    @property
    def is_one_text(self) -> bool:
        """Say whether a line is nothing but the text of one source."""
        return len(self.sources) == 1 and not self.tag

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of what a line holds."""
        return (self.tag, *self.sources) if self.tag else self.sources

    def example(self, text: str) -> str:
        """Return a line to show, of `text` alone or by names."""
        if self.is_one_text:
            return text
        tag = {self.tag: self.tags[0]} if self.tags else {}
        return json.dumps(tag | dict.fromkeys(self.sources, text), ensure_ascii=False)

    def line(self, values: Mapping[str, Any]) -> str:
        """Return the line of values by name; DataError for one that is missing or no text."""
        cells = []
        for name in self.names:
            if name not in values:
                known = ", ".join(f'"{key}"' for key in list(values)[:8]) or "none"
                raise DataError(f'no "{name}"; the keys are {known}.{did_you_mean(name, map(str, values))}')
            value = values[name]
            if name != self.tag and isinstance(value, dict | list):
                value = write_graph(graph_from(value))
            if not isinstance(value, str):
                raise DataError(f'"{name}" must be a text')
            cells.append(" ".join(value.splitlines()).replace(BETWEEN, " "))
        return BETWEEN.join(cells)

    def to_line(self, value: str | Mapping[str, Any], tag: str = "") -> str:
        """Return the line of a text or of values by name, with `tag` where that is given; DataError without tags."""
        if tag and not self.tag:
            raise DataError(f'the tag "{tag[:40]}" was given, but this model knows no tags')
        if isinstance(value, str) and tag and value.lstrip().startswith("{"):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                return f"{tag}{BETWEEN}{value}"
        if isinstance(value, str):
            return f"{tag}{BETWEEN}{value}" if tag else value
        if self.is_one_text:
            return json.dumps(value, ensure_ascii=False)
        return self.line({**value, self.tag: tag} if tag else value)

    def cells(self, line: str) -> list[str]:
        """Return what a line holds, by columns or as a JSON object; DataError for another number of columns."""
        cells = line.split(BETWEEN)
        if len(cells) == len(self.names):
            return cells
        if line.lstrip().startswith("{"):
            try:
                values = json.loads(line)
            except (ValueError, RecursionError):
                values = None
            if isinstance(values, dict):
                return self.line(values).split(BETWEEN)
        what = f"{len(cells)} column{'s' * (len(cells) > 1)}"
        keys = ", ".join(f'"{name}": "…"' for name in self.names)
        raise DataError(
            f"{what} where this model reads {len(self.names)}: {', '.join(self.names)}; put a tab between, or give"
            f" {{{keys}}}"
        )

    def is_blank(self, line: str) -> bool:
        """Return whether every source of a line is empty; a line that cannot be read is not empty."""
        if self.is_one_text or is_blank(line):
            return is_blank(line)
        try:
            return all(map(is_blank, self.cells(line)[-len(self.sources) :]))
        except DataError:
            return False

    def texts(self, line: str) -> list[str]:
        """Return the sources of a line without its tag."""
        return [line] if self.is_one_text else self.cells(line)[-len(self.sources) :]

    def tag_of(self, line: str) -> str:
        """Return the tag of a line, or nothing where there is none; DataError for one that was not learned."""
        if not self.tag:
            return ""
        tag = self.cells(line)[0].strip()
        if tag not in self.tags:
            known = ", ".join(self.tags[:20]) + (", …" if len(self.tags) > 20 else "")
            raise DataError(f'no {self.tag} "{tag[:40]}"; this model knows {known}.{did_you_mean(tag, self.tags)}')
        return tag

    def read(
        self, lines: Sequence[str], read: Callable[[list[str]], list[SourceIds]], source: Tokenizer, target: Tokenizer
    ) -> list[SourceIds]:
        """Return lines as the model reads them, each text by `read`; SourceError for one that cannot be read."""
        rows, tags = [], []
        for number, line in enumerate(lines):
            try:
                rows.append(self.texts(line))
                tags.append(self.tag_of(line))
            except DataError as error:
                raise SourceError(error.message, number) from None
        try:
            parts = iter(read(list(itertools.chain.from_iterable(rows))))
        except SourceError as error:
            raise SourceError(error.message, error.number // len(self.sources)) from None
        joined = (join_sources(list(itertools.islice(parts, len(row))), target.vocab_size) for row in rows)
        if not self.tag:
            return list(joined)
        put = _before_source if self.tag_side == "source" else _before_target
        holder = source if self.tag_side == "source" else target
        assert isinstance(holder, TaggedTokenizer)
        return [put(read_source, holder.tag_id(tag)) for read_source, tag in zip(joined, tags, strict=True)]


ONE_TEXT = Inputs()


def with_tags(tokenizer: Tokenizer, inputs: Inputs) -> Tokenizer:
    """Return a tokenizer with an id for each tag, as it is where there are none."""
    return TaggedTokenizer(tokenizer, inputs.tags) if inputs.tags else tokenizer


def join_sources(parts: Sequence[SourceIds], vocab_size: int) -> SourceIds:
    """Return several sources as one; `vocab_size` is that of the target, beyond which copied forms are numbered."""
    if len(parts) == 1:
        return parts[0]
    table = numbered_forms(parts)
    tokens: list[int] = []
    segments: list[int] = []
    bounds = [0]
    for number, part in enumerate(parts):
        tokens += part.tokens if number == len(parts) - 1 else [*part.tokens, EOS]
        segments += [number] * (len(tokens) - bounds[-1])
        bounds.append(len(tokens))
    members = [dict(part.with_forms(table, vocab_size).extras) for part in parts]
    extras: dict[str, Any] = {
        extra.name: extra.joined([own.get(extra, []) for own in members], bounds) for extra in members[0]
    }
    return SourceIds(tokens, forms=tuple(table), **(extras | {"segments": segments}))


def found_tags(tags: Iterable[str], name: str) -> tuple[str, ...]:
    """Return the different tags of the data, sorted; DataError where there are too many to be tags."""
    found: set[str] = set()
    for tag in tags:
        if tag not in found and len(tag.encode()) > MAX_ENTRY_BYTES:
            raise DataError(f'"{name}" holds a text of more than {MAX_ENTRY_BYTES} bytes: {tag[:40]}…; is it the tag?')
        found.add(tag)
        if len(found) > MAX_TAGS:
            raise DataError(f'"{name}" holds more than {MAX_TAGS:,} different texts; is it the column of the tag?')
    return tuple(sorted(found))


def _before_source(source: SourceIds, tag: int) -> SourceIds:
    """Return a source that begins with a tag."""
    return source.framed((tag,))


def _before_target(source: SourceIds, tag: int) -> SourceIds:
    return replace(source, prefix=(tag,))
