"""What a line of input holds where it is more than one text: several sources, and a tag before them, tabs between.

Each source is read by itself; together they are one row of tokens, in which </s> closes each source but the last.
"""

import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
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


@dataclass(frozen=True)
class InputLine:
    """One line of input, parsed: the text of each source, and its tag, None where the model reads none."""

    texts: tuple[str, ...]
    tag: str | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """Return what the line holds, in the order of the columns."""
        return self.texts if self.tag is None else (self.tag, *self.texts)

    @property
    def is_blank(self) -> bool:
        """Return whether every source is empty."""
        return all(map(is_blank, self.texts))


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
        """Return whether a line is nothing but the text of one source."""
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

    def line(self, values: Mapping[str, object]) -> str:
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

    def parse(self, value: str | Mapping[str, object], tag: str = "") -> InputLine:
        """Return what a line holds: a text with tabs or a JSON object, or a mapping by name; `tag` replaces its tag.

        DataError for another number of columns, for a missing name, or for a tag where the model knows none.
        """
        if tag and not self.tag:
            raise DataError(f'the tag "{tag[:40]}" was given, but this model knows no tags')
        if self.is_one_text:
            return InputLine((value if isinstance(value, str) else _as_json(value),))
        if isinstance(value, str) and is_blank(value):
            return InputLine(("",) * len(self.sources), tag if self.tag else None)
        if tag and isinstance(value, str) and not value.lstrip().startswith("{"):
            return self._by_columns([tag, *value.split(BETWEEN)])
        if isinstance(value, str):
            return self._by_columns(value.split(BETWEEN), value, tag)
        return self._by_columns(self.line({**value, self.tag: tag} if tag else value).split(BETWEEN))

    def _by_columns(self, cells: list[str], line: str = "", tag: str = "") -> InputLine:
        """Return the line of some cells, or of the JSON object that `line` may be; DataError for another number."""
        if tag or len(cells) != len(self.names):
            cells = self._by_name(line, tag) or ([tag, *cells] if tag else cells)
        if len(cells) != len(self.names):
            what = f"{len(cells)} column{'s' * (len(cells) > 1)}"
            keys = ", ".join(f'"{name}": "…"' for name in self.names)
            raise DataError(
                f"{what} where this model reads {len(self.names)}: {', '.join(self.names)}; put a tab between, or give"
                f" {{{keys}}}"
            )
        texts = tuple(cells[-len(self.sources) :])
        return InputLine(texts, cells[0] if self.tag else None)

    def _by_name(self, line: str, tag: str) -> list[str]:
        """Return the cells of a line that is a JSON object; none where it is not."""
        if not line.lstrip().startswith("{"):
            return []
        try:
            values = json.loads(line)
        except (ValueError, RecursionError):
            return []
        if not isinstance(values, dict):
            return []
        return self.line({**values, self.tag: tag} if tag else values).split(BETWEEN)

    def texts(self, line: str) -> tuple[str, ...]:
        """Return the sources of a line without its tag; DataError for a line that cannot be parsed."""
        return self.parse(line).texts

    def checked_tag(self, line: InputLine) -> str:
        """Return the tag of a line without spaces around it; DataError for one that was not learned."""
        tag = (line.tag or "").strip()
        if self.tag and tag not in self.tags:
            known = ", ".join(self.tags[:20]) + (", …" if len(self.tags) > 20 else "")
            raise DataError(f'no {self.tag} "{tag[:40]}"; this model knows {known}.{did_you_mean(tag, self.tags)}')
        return tag

    def read(
        self,
        lines: Sequence[InputLine],
        read: Callable[[list[str]], list[SourceIds]],
        source: Tokenizer,
        target: Tokenizer,
    ) -> list[SourceIds]:
        """Return lines as the model reads them, each text by `read`; SourceError for one that cannot be read."""
        tags = []
        for number, line in enumerate(lines):
            try:
                tags.append(self.checked_tag(line))
            except DataError as error:
                raise SourceError(error.message, number) from None
        try:
            parts = iter(read([text for line in lines for text in line.texts]))
        except SourceError as error:
            raise SourceError(error.message, error.number // len(self.sources)) from None
        joined = (join_sources(list(itertools.islice(parts, len(line.texts))), target.vocab_size) for line in lines)
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


def _as_json(value: Mapping[str, object]) -> str:
    """Return a graph that is given as a dictionary as the JSON of its line."""
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(f"the dictionary cannot be written as JSON: {error}") from None


def _before_source(source: SourceIds, tag: int) -> SourceIds:
    """Return a source that begins with a tag."""
    return source.framed((tag,))


def _before_target(source: SourceIds, tag: int) -> SourceIds:
    return replace(source, prefix=(tag,))
