"""Input lines of several sources or with a tag, separated by tabs.

Each source is read separately; together they are one row of tokens, in which </s> closes each source but the last.
"""

import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import Field, field_validator

from calque.config import Config
from calque.errors import DataError, did_you_mean
from calque.ids import EOS
from calque.text.extras import ExtraFields
from calque.text.graph.graph import graph_from, write_graph
from calque.text.graph.layout import SourceError
from calque.text.identity import is_blank
from calque.text.source import SourceIds, numbered_forms
from calque.text.tokenizers.tags import TaggedTokenizer
from calque.text.tokenizers.tokenizer import MAX_ENTRY_BYTES, Tokenizer, well_formed

Side = Literal["source", "target"]
BETWEEN = "\t"
# A column with more different texts is most likely not that of the tag.
MAX_TAGS = 1_000
MAX_SOURCES = 64


@dataclass(frozen=True)
class InputLine:
    """A parsed line of input: the text of each source, and its tag, None for a model without tags."""

    texts: tuple[str, ...]
    tag: str | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the tag, if there is one, and the texts, in the order of the columns."""
        return self.texts if self.tag is None else (self.tag, *self.texts)

    @property
    def is_blank(self) -> bool:
        """Return whether every source is empty."""
        return all(map(is_blank, self.texts))


class Inputs(Config):
    """The sources of a line and the place of its tag; saved in text.json."""

    sources: tuple[str, ...] = Field(("source",), min_length=1, max_length=MAX_SOURCES)
    """Names of the sources, in order."""
    tag: str = ""
    """Name of the tag; empty for none."""
    tag_side: Side = "source"
    """Place of the tag: before the source, or before the target, where search forces it."""
    tags: tuple[str, ...] = Field((), max_length=MAX_TAGS)
    """All tags."""

    @field_validator("tags")
    @classmethod
    def _are_tags(cls, tags: tuple[str, ...]) -> tuple[str, ...]:
        for tag in tags:
            if not tag or tag.split("\n") != [tag] or BETWEEN in tag or tag != tag.strip() or well_formed(tag) != tag:
                raise ValueError(f"{tag!r} is not a tag")
            if len(tag.encode()) > MAX_ENTRY_BYTES:
                raise ValueError(f"a tag is longer than {MAX_ENTRY_BYTES} bytes")
        if len(set(tags)) < len(tags):
            raise ValueError("a tag occurs twice")
        return tags

    @property
    def is_one_text(self) -> bool:
        """Return whether a line is the text of one source."""
        return len(self.sources) == 1 and not self.tag

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the columns of a line."""
        return (self.tag, *self.sources) if self.tag else self.sources

    def example(self, text: str) -> str:
        """Return an example line, with `text` as each source."""
        if self.is_one_text:
            return text
        tag = {self.tag: self.tags[0]} if self.tags else {}
        return json.dumps(tag | dict.fromkeys(self.sources, text), ensure_ascii=False)

    def line(self, values: Mapping[str, object]) -> str:
        """Return the line of values by name; DataError for one that is missing or not text."""
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
        """Parse a line: a text with tabs, a JSON object, or a mapping by name; `tag` replaces its tag.

        Raises DataError for another number of columns, for a missing name, or for a tag if the model has none.
        """
        if tag and not self.tag:
            raise DataError(f'the tag "{tag[:40]}" was given, but this model has no tags')
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
        """Return the line of cells, or of `line` if it is a JSON object; DataError for another number of cells."""
        if tag or len(cells) != len(self.names):
            cells = self._by_name(line, tag) or ([tag, *cells] if tag else cells)
        if len(cells) != len(self.names):
            what = f"{len(cells)} column{'s' * (len(cells) > 1)}"
            keys = ", ".join(f'"{name}": "…"' for name in self.names)
            raise DataError(
                f"{what}, but this model reads {len(self.names)}: {', '.join(self.names)}; put tabs"
                f" between them, or write {{{keys}}}"
            )
        texts = tuple(cells[-len(self.sources) :])
        return InputLine(texts, cells[0] if self.tag else None)

    def _by_name(self, line: str, tag: str) -> list[str]:
        """Return the cells of a line that is a JSON object; none for another line."""
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
        """Return the tag of a line without spaces around it; DataError for an unknown one."""
        tag = (line.tag or "").strip()
        if self.tag and tag not in self.tags:
            known = ", ".join(self.tags[:20]) + (", …" if len(self.tags) > 20 else "")
            raise DataError(
                f'the {self.tag} "{tag[:40]}" is unknown; the tags are {known}.{did_you_mean(tag, self.tags)}'
            )
        return tag

    def read(
        self,
        lines: Sequence[InputLine],
        read: Callable[[list[str]], list[SourceIds]],
        source: Tokenizer,
        target: Tokenizer,
    ) -> list[SourceIds]:
        """Return lines as the model reads them, each text by `read`; SourceError for a line that cannot be read."""
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
    """Return a tokenizer with an id for each tag; without tags, `tokenizer` itself."""
    return TaggedTokenizer(tokenizer, inputs.tags) if inputs.tags else tokenizer


def join_sources(parts: Sequence[SourceIds], vocab_size: int) -> SourceIds:
    """Return several sources as one; copied forms are numbered from `vocab_size`, that of the target.

    Every part of it has all sources but the last one.
    """
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
    extras: ExtraFields = {
        extra.name: extra.joined([own.get(extra, []) for own in members], bounds) for extra in members[0]
    }
    return SourceIds(tokens, forms=tuple(table), lead=bounds[-2], **(extras | {"segments": segments}))


def found_tags(tags: Iterable[str], name: str) -> tuple[str, ...]:
    """Return the different tags of the data, sorted; DataError if they are too many or too long."""
    found: set[str] = set()
    for tag in tags:
        if tag not in found and len(tag.encode()) > MAX_ENTRY_BYTES:
            raise DataError(
                f'"{name}" contains a text of more than {MAX_ENTRY_BYTES} bytes; is it the column of the tag?'
            )
        found.add(tag)
        if len(found) > MAX_TAGS:
            raise DataError(f'"{name}" contains more than {MAX_TAGS:,} different texts; is it the column of the tag?')
    return tuple(sorted(found))


def _as_json(value: Mapping[str, object]) -> str:
    """Return the line of JSON of a graph that is a dictionary."""
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(f"the dictionary cannot be written as JSON: {error}") from None


def _before_source(source: SourceIds, tag: int) -> SourceIds:
    """Return a source that begins with a tag."""
    return source.framed((tag,))


def _before_target(source: SourceIds, tag: int) -> SourceIds:
    return replace(source, prefix=(tag,))
