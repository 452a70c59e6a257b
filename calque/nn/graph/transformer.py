"""A Transformer encoder of graphs: self-attention as in Shaw et al. 2018, with kinds of edges and lengths of shortest
paths in place of relative positions.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from calque.batch import Source
from calque.nn.dropout import Dropout
from calque.nn.embedding import Embedding
from calque.nn.graph.edges import num_relations, relations
from calque.nn.graph.layers import GraphLayersConfig, GraphLayersEncoder, GraphMixing
from calque.nn.init import glorot
from calque.nn.typed import Linear


class GraphTransformerEncoderConfig(GraphLayersConfig):
    """Read a graph with self-attention that depends on edges and paths."""

    kind: Literal["graph_transformer"] = "graph_transformer"
    """Graph Transformer: self-attention that depends on edges and paths."""
    paths: int = Field(default=4, ge=1, le=16)
    """Greatest length of a shortest path that counts as a relation; 1: only edges do."""

    def build(self, embedding: Embedding) -> "GraphTransformerEncoder":
        """Build the encoder."""
        return GraphTransformerEncoder(self, embedding)


class GraphTransformerEncoder(GraphLayersEncoder):
    """Read a graph with self-attention among all positions that depends on the relations of each pair."""

    def __init__(self, config: GraphTransformerEncoderConfig, embedding: Embedding) -> None:
        super().__init__(config, embedding, lambda: RelationAttention(config))
        self.paths = config.paths

    def relate(self, source: Source) -> tuple[Tensor, Tensor]:
        """Return the relations of edges, of paths and of pairs further apart; hide padding."""
        return path_relations(relations(source, self.edge_kinds), self.paths), ~source.mask[:, None, None, :]


def num_path_relations(edge_kinds: int, paths: int) -> int:
    """Return R, the number of relations: edges; forward, backward and mixed paths by length; pairs further apart."""
    return num_relations(edge_kinds) + 3 * (paths - 1) + 1


@torch.no_grad()
def path_relations(joined: Tensor, paths: int) -> Tensor:
    """Return the relations [B, R, S, S] of edges [B, K, S, S] and of shortest paths of 2 to `paths` edges.

    A path follows edges forward to the row, backward, or else in both directions (mixed). The last relation is that of
    pairs without another one.
    """
    forward = joined[:, : joined.shape[1] // 2].any(dim=1)
    along = _shortest(forward, paths)
    against = [step.transpose(1, 2) for step in along]
    directed = torch.stack([*along, *against]).any(dim=0)
    mixed = [step & ~directed for step in _shortest(forward | forward.transpose(1, 2), paths)]
    known = torch.cat([joined, *(step.unsqueeze(1) for step in (*along[1:], *against[1:], *mixed[1:]))], dim=1)
    return torch.cat([known, ~known.any(dim=1, keepdim=True)], dim=1)


def _shortest(edges: Tensor, longest: int) -> list[Tensor]:
    """Return masks [B, S, S] of the pairs whose shortest path along `edges` has 1, 2, … `longest` edges."""
    seen = torch.eye(edges.shape[1], dtype=torch.bool, device=edges.device).expand_as(edges)
    step = edges.float()
    reached, found = seen, []
    for _ in range(longest):
        # Paths by matrix powers: one edge further than the pairs that the last step has added.
        reached = (step @ reached.float() > 0) & ~seen
        seen = seen | reached
        found.append(reached)
    return found


class RelationAttention(GraphMixing):
    """Attend with H heads; a relation adds its vector to the keys and values of its pairs."""

    def __init__(self, config: GraphTransformerEncoderConfig) -> None:
        super().__init__()
        self.heads = config.heads
        count = num_path_relations(config.edge_kinds, config.paths)
        self.query = Linear(config.width, config.width)
        self.key_value = Linear(config.width, 2 * config.width)
        self.output = Linear(config.width, config.width)
        # Shared by the heads, as in the paper.
        self.key_relations = nn.Parameter(torch.empty(count, config.width // config.heads))
        self.value_relations = nn.Parameter(torch.empty(count, config.width // config.heads))
        self.dropout = Dropout(config.attention_dropout)
        glorot(self.query)
        glorot(self.key_value, num_blocks=2)
        glorot(self.output)
        nn.init.xavier_uniform_(self.key_relations)
        nn.init.xavier_uniform_(self.value_relations)

    def forward(self, values: Tensor, joined: Tensor, bias: Tensor) -> Tensor:
        """Map [B, S, D] to [B, S, D]; `joined` [B, R, S, S] is 1 for related pairs, `bias` hides padding."""
        # [B, S, D] -> [B, H, S, D/H]
        query = self.query(values).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        query = query * query.shape[-1] ** -0.5
        # [B, S, 2 D] -> [2, B, H, S, D/H]
        keys, own = self.key_value(values).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        # [B, R, S, S] -> [B, S, R, S]: the relations of each row to all columns
        joined = joined.transpose(1, 2)
        # [B, S, H, R] @ [B, S, R, S] -> [B, H, S, S]
        by_relation = ((query @ self.key_relations.T).transpose(1, 2) @ joined).transpose(1, 2)
        weights = self.dropout((query @ keys.transpose(-1, -2) + by_relation + bias).softmax(dim=-1))
        # [B, S, H, S] @ [B, S, S, R] -> [B, S, H, R]: the attention by relation
        shares = weights.transpose(1, 2) @ joined.transpose(2, 3)
        mixed = (weights @ own).transpose(1, 2) + shares @ self.value_relations
        return self.output(mixed.flatten(2))
