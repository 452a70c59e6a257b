"""The text side of one source: ids, and what copying, graphs and several sources need beside them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from calque.text.extras import Edge, Extra, cut, extra_named, extras_of

S = TypeVar("S", bound="SourceIds")


@dataclass(frozen=True)
class SourceIds:
    """One source: `tokens` without specials, and as the layout has them

    `copy_ids`: for each token the target id that copying it gives, V + i for `forms[i]`, which the target vocabulary
    lacks, PAD for nothing to copy; `edges`: positions from and to and the kind of edge, from 1 on; `segments`: for each
    token the number of the source that it belongs to; `lead` and `tail`: numbers of first and last tokens that every
    part keeps (a tag, a language); `prefix`: the target ids that an answer begins with.
    """

    tokens: list[int]
    copy_ids: list[int] | None = None
    forms: tuple[str, ...] = ()
    edges: list[Edge] | None = None
    segments: list[int] | None = None
    lead: int = 0
    prefix: tuple[int, ...] = ()
    tail: int = 0

    def __len__(self) -> int:
        """Return the number of tokens."""
        return len(self.tokens)

    @property
    def extras(self) -> list[tuple[Extra[Any], list[Any]]]:
        """Return the extras that this source has, each with its items."""
        return extras_of(self)

    def numbers(self, name: str) -> list[int]:
        """Return the items of an extra as numbers."""
        return extra_named(name).flat(getattr(self, name) or [])

    def part(self: S, start: int, stop: int) -> S:
        """Return the tokens from `start` to before `stop`, counted after the lead, with the same lead and tail."""
        assert self.is_cuttable, "a graph or several sources have no parts"
        kept = slice(start, stop)
        extras: dict[str, Any] = {
            extra.name: extra.cut(items, kept, self.lead, self.tail) for extra, items in self.extras
        }
        return replace(self, tokens=cut(self.tokens, kept, self.lead, self.tail), **extras)

    @property
    def kept(self) -> int:
        """Return the number of tokens that every part keeps."""
        return self.lead + self.tail

    def framed(self: S, before: Sequence[int], after: Sequence[int] = ()) -> S:
        """Return the source with ids around it that every part keeps; nothing of it is copied, no edge leads there."""
        extras: dict[str, Any] = {
            extra.name: extra.framed(items, len(before), len(after)) for extra, items in self.extras
        }
        return replace(
            self,
            tokens=[*before, *self.tokens, *after],
            lead=self.lead + len(before),
            tail=self.tail + len(after),
            **extras,
        )

    def with_forms(self: S, table: Mapping[str, int], vocab_size: int) -> S:
        """Return the source with its copied forms numbered by `table`, from `vocab_size` on."""
        if self.copy_ids is None or not self.forms:
            return self
        places = [vocab_size + table[form] for form in self.forms]
        copy_ids = [number if number < vocab_size else places[number - vocab_size] for number in self.copy_ids]
        return replace(self, copy_ids=copy_ids, forms=tuple(table))

    @property
    def is_cuttable(self) -> bool:
        """Return whether a part of it is a source: not of a graph, nor of several sources."""
        return all(extra.is_cuttable for extra, _ in self.extras)


def plain_sources(rows: Sequence[list[int]]) -> list[SourceIds]:
    """Return sources that are nothing but tokens."""
    return [SourceIds(tokens) for tokens in rows]


def numbered_forms(sources: Sequence[SourceIds]) -> dict[str, int]:
    """Return a number for each form that one of the sources can copy, in the order of their first places."""
    return {form: place for place, form in enumerate(dict.fromkeys(form for own in sources for form in own.forms))}
