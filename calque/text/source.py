"""The text side of one source: ids, and the extras that copying, graphs and several sources need."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from calque.text.extras import AnyExtra, Edge, ExtraFields, Items, cut, extra_named, extras_of

S = TypeVar("S", bound="SourceIds")


@dataclass(frozen=True)
class SourceIds:
    """One source: its `tokens` without special ones, and the extras that the model needs.

    `copy_ids`: for each token the target id that copying it gives; V + i for `forms[i]`, which is not in the target
    vocabulary, and PAD for a token that cannot be copied. `edges`: start, end and kind, from 1, of each edge.
    `segments`: for each token the number of its source. `lead` and `tail`: number of tokens at the start and the end
    that every part has too (a tag, a language). `prefix`: the target ids at the start of every output. `is_part`:
    whether tokens were left out.
    """

    tokens: list[int]
    copy_ids: list[int] | None = None
    forms: tuple[str, ...] = ()
    edges: list[Edge] | None = None
    segments: list[int] | None = None
    lead: int = 0
    prefix: tuple[int, ...] = ()
    tail: int = 0
    is_part: bool = False

    def __len__(self) -> int:
        """Return the number of tokens."""
        return len(self.tokens)

    @property
    def extras(self) -> list[tuple[AnyExtra, Items]]:
        """Return the extras that this source has, each with its items."""
        return extras_of(self)

    def numbers(self, name: str) -> list[int]:
        """Return the items of an extra as numbers."""
        return extra_named(name).flat(getattr(self, name) or [])

    def part(self: S, start: int, stop: int) -> S:
        """Return the tokens from `start` to before `stop`, counted after the lead, with the lead and the tail."""
        assert self.is_shortenable, "a graph has no parts"
        kept = slice(start, stop)
        extras: ExtraFields = {extra.name: extra.cut(items, kept, self.lead, self.tail) for extra, items in self.extras}
        return replace(self, tokens=cut(self.tokens, kept, self.lead, self.tail), is_part=True, **extras)

    def ends(self: S, head: int, tail: int) -> S:
        """Return the first `head` and the last `tail` tokens, counted between the lead and the tail of every part."""
        total = len(self) - self.kept
        first, last = self.part(0, head), self.part(total - tail, total)

        def both(name: str) -> Items:
            start: Items = getattr(first, name)
            end: Items = getattr(last, name)
            return start[: len(start) - self.tail] + end[self.lead :]

        fields: ExtraFields = {name: both(name) for name in ("tokens", *(extra.name for extra, _ in self.extras))}
        return replace(self, is_part=True, **fields)

    @property
    def kept(self) -> int:
        """Return the number of tokens that every part has."""
        return self.lead + self.tail

    def framed(self: S, before: Sequence[int], after: Sequence[int] = ()) -> S:
        """Return the source with ids around it, which every part has; they cannot be copied and have no edges."""
        extras: ExtraFields = {extra.name: extra.framed(items, len(before), len(after)) for extra, items in self.extras}
        return replace(
            self,
            tokens=[*before, *self.tokens, *after],
            lead=self.lead + len(before),
            tail=self.tail + len(after),
            **extras,
        )

    def with_forms(self: S, table: Mapping[str, int], vocab_size: int) -> S:
        """Return the source with its copied forms numbered by `table`, starting at `vocab_size`."""
        if self.copy_ids is None or not self.forms:
            return self
        places = [vocab_size + table[form] for form in self.forms]
        copy_ids = [number if number < vocab_size else places[number - vocab_size] for number in self.copy_ids]
        return replace(self, copy_ids=copy_ids, forms=tuple(table))

    @property
    def is_cuttable(self) -> bool:
        """Return whether it can be split into parts that are answered one by one: not a graph or several sources."""
        return self.segments is None and self.is_shortenable

    @property
    def is_shortenable(self) -> bool:
        """Return whether tokens can be left out: not those of a graph."""
        return all(extra.is_cuttable for extra, _ in self.extras)


def plain_sources(rows: Sequence[list[int]]) -> list[SourceIds]:
    """Return sources of tokens alone."""
    return [SourceIds(tokens) for tokens in rows]


def numbered_forms(sources: Sequence[SourceIds]) -> dict[str, int]:
    """Return a number for each form that one of the sources can copy, in the order of their first occurrence."""
    return {form: place for place, form in enumerate(dict.fromkeys(form for own in sources for form in own.forms))}
