"""Graph encoders against the papers' formulas written as loops, and what any reader of graphs must keep to."""

import itertools
import random
from dataclasses import replace

import pytest
import torch
from torch import nn

from calque.batch import Source
from calque.data.collate import collate_sources
from calque.errors import UsageError
from calque.nn.embedding import Embedding
from calque.nn.graph_attention import GraphAttentionEncoderConfig
from calque.nn.graph_edges import NEXT, num_relations, relations
from calque.nn.graph_gated import GatedGraphEncoderConfig
from calque.nn.graph_transformer import GraphTransformerEncoderConfig, num_path_relations, path_relations
from calque.nn.parts import Encoder
from calque.text.source_ids import Edge, SourceIds

WIDTH, VOCAB_SIZE, KINDS = 8, 11, 3
CONFIGS = {
    "ggnn": GatedGraphEncoderConfig(layers=3, width=WIDTH, edge_kinds=KINDS),
    "gat": GraphAttentionEncoderConfig(layers=2, width=WIDTH, heads=2, feed_forward=12, edge_kinds=KINDS),
    "graph_transformer": GraphTransformerEncoderConfig(
        layers=2, width=WIDTH, heads=2, feed_forward=12, edge_kinds=KINDS, paths=3
    ),
}
each_encoder = pytest.mark.parametrize("name", CONFIGS)
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}


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


def encoder(name: str) -> Encoder:
    torch.manual_seed(0)
    made = CONFIGS[name].build(Embedding(VOCAB_SIZE, WIDTH))
    with torch.no_grad():
        for parameter in made.parameters():
            # Biases start at zero and norms at one: a formula is only tested by values of no special kind.
            parameter.add_(0.3 * torch.randn_like(parameter))
    return made.eval()


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


def embedded(made: Encoder, source: Source) -> torch.Tensor:
    return made.embedding(source.tokens[0])  # type: ignore[no-any-return, operator]


@torch.no_grad()
def test_the_gated_network_is_beck_et_al() -> None:
    """r, z and the candidate by equations of the paper, neighbour by neighbour."""
    made = encoder("ggnn")
    given = graphs()[0]
    source = collate_sources([given])
    values = embedded(made, source)
    joined = naive_relations(given)
    size = len(values)

    def average(layer: nn.Module, rows: torch.Tensor) -> torch.Tensor:
        weights = layer.dense.weight.split(WIDTH, dim=1)  # type: ignore[operator, union-attr]
        biases = layer.bias.weight.T  # type: ignore[union-attr]
        sums = []
        for to in range(size):
            edges = [(start, kind) for start in range(size) for kind in joined.get((to, start), ())]
            sums.append(sum(weights[kind] @ rows[start] + biases[kind] for start, kind in edges) / len(edges))
        return torch.stack(sums)

    for _ in range(3):
        reset, update = torch.sigmoid(average(made.gates, values)).chunk(2, dim=-1)  # type: ignore[arg-type]
        candidate = torch.tanh(average(made.candidate, reset * values))  # type: ignore[arg-type]
        values = (1 - update) * values + update * candidate
    torch.testing.assert_close(made(source).states[0], values, **TOLERANCE)


@torch.no_grad()
def test_graph_attention_is_velickovic_et_al() -> None:
    made = encoder("gat")
    given = graphs()[2]
    source = collate_sources([given])
    joined = naive_relations(given)
    layer = made.layers[0].mix  # type: ignore[index, union-attr]
    values = made.layers[0].mix_norm(embedded(made, source))  # type: ignore[index, operator, union-attr]
    size = len(values)
    expected = torch.zeros(size, 2, WIDTH // 2)
    projected = (values @ layer.project.weight.T).view(size, 2, -1)
    for to in range(size):
        for head in range(2):
            neighbours = [start for start in range(size) if joined.get((to, start))]
            scores = []
            for start in neighbours:
                score = layer.row[head] @ projected[to, head] + layer.column[head] @ projected[start, head]
                score = score + sum(layer.kinds.weight[head, kind] for kind in joined[to, start])
                scores.append(score if score > 0 else 0.2 * score)
            weights = torch.stack(scores).softmax(dim=0)
            expected[to, head] = sum(weight * projected[start, head] for weight, start in zip(weights, neighbours))  # noqa: B905
    related, hidden = made.relate(source)  # type: ignore[operator]
    bias = torch.zeros(hidden.shape).masked_fill(hidden, float("-inf"))
    found = layer(values.unsqueeze(0), related.float(), bias)[0]
    torch.testing.assert_close(found, nn.functional.elu(expected.flatten(1)), **TOLERANCE)


@torch.no_grad()
def test_relations_are_added_to_keys_and_values_as_by_shaw_et_al() -> None:
    """e = q · (k + a) / √d and z = Σ α (v + a'), a the sum over the relations of a pair."""
    made = encoder("graph_transformer")
    source = collate_sources(graphs()[2:])
    layer = made.layers[0].mix  # type: ignore[index, union-attr]
    values = made.layers[0].mix_norm(made.embedding(source.tokens[1]))  # type: ignore[index, operator, union-attr]
    related, hidden = made.relate(source)  # type: ignore[operator]
    size, real = len(values), int(source.mask[1].sum())
    query = layer.query(values).view(size, 2, -1)
    keys, own = (part.view(size, 2, -1) for part in layer.key_value(values).chunk(2, dim=-1))
    expected = torch.zeros(size, 2, WIDTH // 2)
    for to in range(size):
        for head in range(2):
            which = [related[1, :, to, start].nonzero().flatten() for start in range(real)]
            with_keys = [keys[start, head] + layer.key_relations[which[start]].sum(0) for start in range(real)]
            scores = torch.stack([query[to, head] @ key / (WIDTH // 2) ** 0.5 for key in with_keys]).softmax(dim=0)
            expected[to, head] = sum(
                scores[start] * (own[start, head] + layer.value_relations[which[start]].sum(0)) for start in range(real)
            )
    bias = torch.zeros(hidden.shape).masked_fill(hidden, float("-inf"))
    both = torch.stack([values, values])
    torch.testing.assert_close(layer(both, related.float(), bias)[1], layer.output(expected.flatten(1)), **TOLERANCE)


@each_encoder
@torch.no_grad()
def test_the_numbering_of_nodes_does_not_matter(name: str) -> None:
    """Positions renumbered give the same states, renumbered: only the edges tell where a node is."""
    made = encoder(name)
    edges: list[Edge] = [(0, 1, 2), (1, 4, 3), (4, 2, 2), (2, 0, 2), (3, 3, 3), (0, 1, 3)]
    tokens = [5, 6, 7, 8, 6]
    place = [3, 0, 4, 1, 2]
    moved = [tokens[place.index(position)] for position in range(5)]
    renumbered = [(place[start], place[end], kind) for start, end, kind in edges]
    states = made(collate_sources([SourceIds(tokens, edges=edges)])).states[0]
    others = made(collate_sources([SourceIds(moved, edges=renumbered)])).states[0]
    torch.testing.assert_close(others[place], states[:5], **TOLERANCE)
    torch.testing.assert_close(others[5], states[5], **TOLERANCE)


@each_encoder
@torch.no_grad()
def test_kind_direction_and_presence_of_an_edge_matter(name: str) -> None:
    made = encoder(name)

    def states(*edges: Edge) -> torch.Tensor:
        return made(collate_sources([SourceIds([5, 6, 7], edges=list(edges))])).states[0]

    given = [states((0, 1, 2)), states((1, 0, 2)), states((0, 1, 3)), states(), states((0, 1, 2), (1, 2, 2))]
    for number, one in enumerate(given):
        for other in given[:number]:
            assert (one[:3] - other[:3]).abs().max() > 1e-3


@each_encoder
@torch.no_grad()
def test_repeated_edges_and_their_order_do_not_matter(name: str) -> None:
    made = encoder(name)
    source = graphs()[0]
    edges = list(source.edges or [])
    same = replace(source, edges=edges[::-1] + edges[:2])
    torch.testing.assert_close(
        made(collate_sources([same])).states, made(collate_sources([source])).states, **TOLERANCE
    )


@pytest.mark.parametrize(("name", "reach"), [("ggnn", 2), ("gat", 1)])
@torch.no_grad()
def test_a_position_sees_as_far_as_there_are_layers(name: str, reach: int) -> None:
    """A gated step looks two edges far: the neighbour's reset gate has looked at its own neighbours."""
    made = encoder(name).double()
    chain: list[Edge] = [(place, place + 1, 2) for place in range(8)]
    sources = [collate_sources([SourceIds([first, *[5] * 8], edges=chain)]) for first in (6, 7)]
    one, other = (made(source).states[0] for source in sources)
    differs = ((one - other).abs().amax(dim=1) > 0).tolist()
    assert differs == [place <= reach * CONFIGS[name].layers for place in range(10)]


@each_encoder
@torch.no_grad()
def test_the_summary_is_the_mean_of_what_is_no_padding(name: str) -> None:
    made = encoder(name)
    source = collate_sources(graphs())
    memory = made(source)
    for row, length in enumerate((6, 2, 8, 4)):
        torch.testing.assert_close(memory.summary[0][row, 0], memory.states[row, :length].mean(dim=0), **TOLERANCE)
    assert memory.summary[0].shape == (4, 1, WIDTH)


@each_encoder
def test_a_source_without_edges_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"model\.encoder reads graphs.*text\.layout\.kind"):
        encoder(name)(collate_sources([SourceIds([5, 6])]))


@pytest.mark.parametrize("name", ["gat", "graph_transformer"])
def test_a_width_that_the_heads_cannot_share_is_refused(name: str) -> None:
    config = CONFIGS[name].model_copy(update={"heads": 3})
    with pytest.raises(UsageError, match=r"model\.encoder\.width"):
        config.build(Embedding(VOCAB_SIZE, WIDTH))


@each_encoder
@torch.no_grad()
def test_no_graph_of_a_batch_has_edges(name: str) -> None:
    source = collate_sources([SourceIds([5, 6], edges=[]), SourceIds([7], edges=[])])
    assert source.edges is not None
    assert source.edges.shape == (2, 0, 3)
    assert encoder(name)(source).states.isfinite().all()
