"""Graph encoders against the papers' formulas written as loops, and what any reader of graphs must keep to."""

from dataclasses import replace

import pytest
import torch
from graph_loops import KINDS, VOCAB_SIZE, graphs, naive_relations
from torch import nn

from calque.batch import Source
from calque.data.collate import collate_sources
from calque.errors import UsageError
from calque.nn.embedding import Embedding
from calque.nn.graph.attention import GraphAttentionEncoderConfig
from calque.nn.graph.gated import GatedGraphEncoderConfig
from calque.nn.graph.transformer import GraphTransformerEncoderConfig
from calque.nn.parts import Encoder
from calque.text.source import Edge, SourceIds

WIDTH = 8
CONFIGS = {
    "ggnn": GatedGraphEncoderConfig(layers=3, width=WIDTH, edge_kinds=KINDS),
    "gat": GraphAttentionEncoderConfig(layers=2, width=WIDTH, heads=2, feed_forward=12, edge_kinds=KINDS),
    "graph_transformer": GraphTransformerEncoderConfig(
        layers=2, width=WIDTH, heads=2, feed_forward=12, edge_kinds=KINDS, paths=3
    ),
}
each_encoder = pytest.mark.parametrize("name", CONFIGS)
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}


def encoder(name: str) -> Encoder:
    torch.manual_seed(0)
    made = CONFIGS[name].build(Embedding(VOCAB_SIZE, WIDTH))
    with torch.no_grad():
        for parameter in made.parameters():
            # Biases start at zero and norms at one: a formula is only tested by values of no special kind.
            parameter.add_(0.3 * torch.randn_like(parameter))
    return made.eval()


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
