"""What the text side hands over of one source: ids, and what copying, graphs and several sources need beside them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from calque.ids import PAD

Edge: TypeAlias = tuple[int, int, int]

# Beside the tokens; a store keeps a file for each that a layout has.
EXTRAS = ("copy_ids", "edges", "segments")


@dataclass(frozen=True)
class SourceIds:
    """Hold one source: `tokens` without specials, and as the layout has them

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

    def part(self, start: int, stop: int) -> "SourceIds":
        """Return the tokens from `start` to before `stop`, counted after the lead, with the same lead and tail."""
        assert self.is_cuttable, "a graph or several sources have no parts"
        end = len(self.tokens) - self.tail

        def cut(values: list[int]) -> list[int]:
            return values[: self.lead] + values[self.lead : end][start:stop] + values[end:]

        copy_ids = None if self.copy_ids is None else cut(self.copy_ids)
        return replace(self, tokens=cut(self.tokens), copy_ids=copy_ids)

    @property
    def kept(self) -> int:
        """Return the number of tokens that every part keeps."""
        return self.lead + self.tail

    def framed(self, before: Sequence[int], after: Sequence[int] = ()) -> "SourceIds":
        """Return the source with ids around it that every part keeps; nothing of it is copied, no edge leads there."""
        start, end = [PAD] * len(before), [PAD] * len(after)
        shift, last = len(before), self.segments[-1] if self.segments else 0
        return replace(
            self,
            tokens=[*before, *self.tokens, *after],
            copy_ids=None if self.copy_ids is None else start + self.copy_ids + end,
            edges=None if self.edges is None else [(one + shift, two + shift, kind) for one, two, kind in self.edges],
            segments=None if self.segments is None else [0] * shift + self.segments + [last] * len(after),
            lead=self.lead + len(before),
            tail=self.tail + len(after),
        )

    @property
    def is_cuttable(self) -> bool:
        """Say whether a part of it is a source: not of a graph, nor of several sources."""
        return self.edges is None and self.segments is None


def plain_sources(rows: Sequence[list[int]]) -> list[SourceIds]:
    """Return sources that are nothing but tokens."""
    return [SourceIds(tokens) for tokens in rows]
