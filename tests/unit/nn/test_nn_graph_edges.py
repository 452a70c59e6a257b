"""Relations between positions of a graph, edge by edge, and shortest paths by breadth-first search."""

import itertools
import random

import pytest
import torch
from graph_loops import KINDS, graph, graphs, naive_relations

from calque.data.collate import collate_sources
from calque.nn.graph.edges import NEXT, num_relations, relations
from calque.nn.graph.transformer import num_path_relations, path_relations
from calque.text.source import Edge, SourceIds


def test_relations_are_edges_reversed_edges_and_self_spread_over_all_tokens_of_a_node() -> None:
    given = graphs()
    joined = relations(collate_sources(given), KINDS)
    assert joined.shape == (4, num_relations(KINDS), 8, 8)
    for row, source in enumerate(given):
        expected = naive_relations(source)
        for to in range(8):
            for start in range(8):
                wanted = expected.get((to, start), {2 * KINDS} if to == start else set())
                assert set(joined[row, :, to, start].nonzero().flatten().tolist()) == wanted


def test_a_node_of_several_tokens_is_joined_whole() -> None:
    """Two nodes, tokens 0-1 and 2-4, one edge between their first tokens."""
    edges: list[Edge] = [(0, 1, NEXT), (2, 3, NEXT), (3, 4, NEXT), (0, 2, 2)]
    joined = relations(collate_sources([SourceIds([5] * 5, edges=edges)]), 2)[0]
    assert joined[1].nonzero().tolist() == [[to, start] for to in (2, 3, 4) for start in (0, 1)]
    assert joined[0].nonzero().tolist() == [[1, 0], [3, 2], [4, 3]]


def naive_path(joined: torch.Tensor, start: int, end: int, both_ways: bool) -> int | None:
    """Return the number of edges of the shortest path by breadth-first search."""
    forward = joined[:KINDS].any(dim=0)
    if both_ways:
        forward = forward | forward.T
    border, seen, length = {start}, {start}, 0
    while border:
        if end in border:
            return length
        border = {to for place in border for to in forward[:, place].nonzero().flatten().tolist()} - seen
        seen |= border
        length += 1
    return None


@pytest.mark.parametrize("paths", [1, 2, 4])
def test_paths_are_the_shortest(paths: int) -> None:
    """Forward, backward, or mixed where neither is; the last relation for all that is further."""
    draws = random.Random(5)
    chain: list[Edge] = [(place, place + 1, 2) for place in range(6)]
    zigzag: list[Edge] = [(place + place % 2, place + 1 - place % 2, 2) for place in range(6)]
    sparse = [graph(draws, 8, number) for number in (6, 8, 9)]
    sparse += [SourceIds([5] * 8, edges=chain), SourceIds([5] * 8, edges=zigzag)]
    edges_only = relations(collate_sources(sparse), KINDS)
    found = path_relations(edges_only, paths)
    count = num_relations(KINDS)
    assert found.shape[1] == num_path_relations(KINDS, paths)
    torch.testing.assert_close(found[:, :count], edges_only)
    kinds_seen = set()
    for row, to, start in itertools.product(range(len(sparse)), range(9), range(9)):
        if to == start:
            continue
        lengths = [naive_path(edges_only[row], start, to, False), naive_path(edges_only[row], to, start, False)]
        known = [length for length in lengths if length is not None and length <= paths]
        mixed = None if known else naive_path(edges_only[row], start, to, True)
        wanted = {
            count + which * (paths - 1) + length - 2
            for which, length in enumerate([*lengths, mixed])
            if length is not None and 2 <= length <= paths
        }
        if not wanted and not edges_only[row, :, to, start].any():
            wanted = {found.shape[1] - 1}
        assert set(found[row, count:, to, start].nonzero().flatten().add(count).tolist()) == wanted
        kinds_seen |= wanted
    assert len(kinds_seen) == 3 * (paths - 1) + 1
