"""The columns of a file that make the source side of a pair: one source or several, with or without a tag.

They are kept as one text, joined by tabs in the order of the recipe; the text of a column contains no tab.
"""

from collections.abc import Callable, Iterable, Sequence

from pydantic import Field, field_validator, model_validator

from calque.config import Config
from calque.data.files.quoting import Quoting
from calque.text.inputs import BETWEEN, ONE_TEXT, Inputs, Side, found_tags


class Columns(Config):
    """The columns of a file with a header, or the keys of a JSON object."""

    source: str | tuple[str, ...] = "source"
    """Column or key of the source; for several sources a list, such as ["question", "passage"]."""
    target: str = "target"
    """Column or key of the target."""
    tag: str = ""
    """Column or key of a tag of each pair, such as its language or domain; empty: none."""
    # Not part of the representation, which is part of the key of a token store.
    quoting: Quoting = Field("text", repr=False)
    """Meaning of quotation marks in TSV and two plain files: text, or csv (removed, as a CSV program added them)."""

    @field_validator("source", "target", "tag", mode="before")
    @classmethod
    def _is_not_a_number(cls, name: object) -> object:
        if isinstance(name, int | float):
            raise ValueError(
                f"must be the name of a column in the header line; write a name like {name} as '\"{name}\"'"
            )
        return name

    @field_validator("source")
    @classmethod
    def _one_is_a_name(cls, source: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if isinstance(source, tuple) and len(source) < 2:
            raise ValueError('a list names at least two sources, such as ["question", "passage"]')
        return source

    @model_validator(mode="after")
    def _names_differ(self) -> "Columns":
        twice = [name for name in self.names if self.names.count(name) > 1]
        if twice or "" in self.names:
            raise ValueError(f'"{twice[0]}" is named twice' if twice and twice[0] else "a column needs a name")
        return self

    @property
    def are_named(self) -> bool:
        """Return whether the names differ from the default ones."""
        return self.names != Columns().names

    @property
    def sources(self) -> tuple[str, ...]:
        """Return the names of the sources."""
        return (self.source,) if isinstance(self.source, str) else self.source

    @property
    def inputs(self) -> tuple[str, ...]:
        """Return the names of all columns of the source side in order, the tag first."""
        return (self.tag, *self.sources) if self.tag else self.sources

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of all columns."""
        return (*self.inputs, self.target)

    def join(self, cells: Sequence[str]) -> str:
        """Return the cells of the columns of `inputs` as one text, which is empty if all sources are empty.

        Raises ValueError for an empty tag.
        """
        if len(cells) == 1:
            return cells[0]
        # A tab inside a cell becomes a line break, which `Dataset.examples` replaces by a space and counts.
        cells = [cell.replace(BETWEEN, "\n") for cell in cells]
        tag, sources = (cells[0].strip(), cells[1:]) if self.tag else ("", cells)
        if all(not text or text.isspace() for text in sources):
            return ""
        if not self.tag:
            return BETWEEN.join(sources)
        if not tag:
            raise ValueError(f'"{self.tag}" is empty; every pair needs a tag')
        return BETWEEN.join([tag, *sources])

    def untagged(self, text: str) -> str:
        """Return a joined text without its tag; pairs that differ only in the tag belong together."""
        return text.partition(BETWEEN)[2] if self.tag and BETWEEN in text else text


def learn_inputs(columns: Columns, side: Side, sources: Iterable[str], report: Callable[[str], None]) -> Inputs:
    """Return the description of an input line; the tags are collected from `sources`."""
    if len(columns.inputs) == 1:
        return ONE_TEXT
    tags: tuple[str, ...] = ()
    if columns.tag:
        tags = found_tags((text.partition(BETWEEN)[0] for text in sources if text), columns.tag)
        report(f"tags from {columns.tag}, before the {side}: {', '.join(tags[:20])}{', …' * (len(tags) > 20)}")
    return Inputs(sources=columns.sources, tag=columns.tag, tag_side=side, tags=tags)
