"""Random graphs for tests of graph encoders, and their relations found by hand."""

import random

from calque.nn.graph.edges import NEXT
from calque.text.source import SourceIds

VOCAB_SIZE, KINDS = 11, 3


def graph(draws: random.Random, size: int, num_edges: int) -> SourceIds:
    """Return `size` tokens with random edges of every kind, self edges and repeated ones among them."""

    def place() -> int:
        return draws.randrange(size)

    edges = [(place(), place(), draws.randint(1, KINDS)) for _ in range(num_edges)]
    return SourceIds([draws.randrange(4, VOCAB_SIZE) for _ in range(size)], edges=edges)


def graphs(seed: int = 0) -> list[SourceIds]:
    """Return graphs of several sizes; one has no edges."""
    draws = random.Random(seed)
    return [graph(draws, size, number) for size, number in ((5, 7), (1, 1), (7, 12), (3, 0))]


def naive_relations(source: SourceIds) -> dict[tuple[int, int], set[int]]:
    """Return by hand, for each (to, from), the numbers of the relations; the </s> has its self edge only."""
    size = len(source.tokens)
    assert source.edges is not None
    first = list(range(size))
    for place in range(1, size):
        if (place - 1, place, NEXT) in source.edges:
            first[place] = first[place - 1]
    found: dict[tuple[int, int], set[int]] = {(place, place): {2 * KINDS} for place in range(size + 1)}

    def add(start: int, end: int, kind: int) -> None:
        found.setdefault((end, start), set()).add(kind - 1)
        found.setdefault((start, end), set()).add(KINDS + kind - 1)

    for start, end, kind in source.edges:
        if kind == NEXT:
            add(start, end, kind)
            continue
        for one in range(size):
            for other in range(size):
                if first[one] == first[start] and first[other] == first[end]:
                    add(one, other, kind)
    return found
