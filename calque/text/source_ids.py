"""What the text side hands over of one source: ids, and what copying, graphs and several sources need beside them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

Edge: TypeAlias = tuple[int, int, int]

# Beside the tokens; a store keeps a file for each that a layout has.
EXTRAS = ("copy_ids", "edges", "segments")


@dataclass(frozen=True)
class SourceIds:
    """Hold one source: `tokens` without specials, and as the layout has them

    `copy_ids`: for each token the target id that copying it gives, V + i for `forms[i]`, which the target vocabulary
    lacks, PAD for nothing to copy; `edges`: positions from and to and the kind of edge, from 1 on; `segments`: for each
    token the number of the source that it belongs to.
    """

    tokens: list[int]
    copy_ids: list[int] | None = None
    forms: tuple[str, ...] = ()
    edges: list[Edge] | None = None
    segments: list[int] | None = None

    def __len__(self) -> int:
        """Return the number of tokens."""
        return len(self.tokens)

    def part(self, start: int, stop: int) -> "SourceIds":
        """Return the tokens from `start` to before `stop` as a source of their own; a graph cannot be cut."""
        assert self.edges is None, "a graph has no parts"

        def cut(values: list[int] | None) -> list[int] | None:
            return None if values is None else values[start:stop]

        return SourceIds(self.tokens[start:stop], cut(self.copy_ids), self.forms, None, cut(self.segments))


def plain_sources(rows: Sequence[list[int]]) -> list[SourceIds]:
    """Return sources that are nothing but tokens."""
    return [SourceIds(tokens) for tokens in rows]
