"""A Transformer encoder that knows how positions of a graph are related: Shaw et al. 2018, their relative positions
replaced by kinds of edges and lengths of shortest paths.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from calque.batch import Source
from calque.nn.dropout import Dropout
from calque.nn.embedding import Embedding
from calque.nn.graph.edges import num_relations, relations
from calque.nn.graph.layers import GraphLayersConfig, GraphLayersEncoder
from calque.nn.init import glorot


class GraphTransformerEncoderConfig(GraphLayersConfig):
    """Read a graph with self-attention that knows its edges and paths."""

    kind: Literal["graph_transformer"] = "graph_transformer"
    """The kind of part."""
    paths: int = Field(default=4, ge=1, le=16)
    """Longest shortest path whose length is known; 1 knows edges only."""

    def build(self, embedding: Embedding) -> "GraphTransformerEncoder":
        """Build the encoder."""
        return GraphTransformerEncoder(self, embedding)


class GraphTransformerEncoder(GraphLayersEncoder):
    """Read a graph with self-attention among all of its positions, each pair by how it is related."""

    def __init__(self, config: GraphTransformerEncoderConfig, embedding: Embedding) -> None:
        super().__init__(config, embedding, lambda: RelationAttention(config))
        self.paths = config.paths

    def relate(self, source: Source) -> tuple[Tensor, Tensor]:
        """Return edges, path lengths and what is further apart; hide padding."""
        return path_relations(relations(source, self.edge_kinds), self.paths), ~source.mask[:, None, None, :]


def num_path_relations(edge_kinds: int, paths: int) -> int:
    """Return R: the relations of edges; forward, backward and mixed paths of each length from 2; what is further."""
    return num_relations(edge_kinds) + 3 * (paths - 1) + 1


@torch.no_grad()
def path_relations(joined: Tensor, paths: int) -> Tensor:
    """Return the relations of edges [B, K, S, S] with those of shortest paths of 2 to `paths` edges: [B, R, S, S].

    A path leads forward along the edges to the row, backward from it, or else, mixed, along edges in either direction.
    The last relation holds where no other does.
    """
    forward = joined[:, : joined.shape[1] // 2].any(dim=1)
    along = _shortest(forward, paths)
    against = [step.transpose(1, 2) for step in along]
    directed = torch.stack([*along, *against]).any(dim=0)
    mixed = [step & ~directed for step in _shortest(forward | forward.transpose(1, 2), paths)]
    known = torch.cat([joined, *(step.unsqueeze(1) for step in (*along[1:], *against[1:], *mixed[1:]))], dim=1)
    return torch.cat([known, ~known.any(dim=1, keepdim=True)], dim=1)


def _shortest(edges: Tensor, longest: int) -> list[Tensor]:
    """Return where the shortest path along `edges` [B, S, S] has 1, 2, … `longest` edges."""
    seen = torch.eye(edges.shape[1], dtype=torch.bool, device=edges.device).expand_as(edges)
    step = edges.float()
    reached, found = seen, []
    for _ in range(longest):
        # Paths by matrix powers: one edge on from what the last step reached anew.
        reached = (step @ reached.float() > 0) & ~seen
        seen = seen | reached
        found.append(reached)
    return found


class RelationAttention(nn.Module):
    """Attend with H heads; a relation adds its vector to the key and to the value of every pair that it holds of."""

    def __init__(self, config: GraphTransformerEncoderConfig) -> None:
        super().__init__()
        self.heads = config.heads
        count = num_path_relations(config.edge_kinds, config.paths)
        self.query = nn.Linear(config.width, config.width)
        self.key_value = nn.Linear(config.width, 2 * config.width)
        self.output = nn.Linear(config.width, config.width)
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
        """Map [B, S, D] to [B, S, D]; `joined` [B, R, S, S] is 1 where a relation holds, `bias` hides padding."""
        # [B, S, D] -> [B, H, S, D/H]
        query = self.query(values).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        query = query * query.shape[-1] ** -0.5
        # [B, S, 2 D] -> [2, B, H, S, D/H]
        keys, own = self.key_value(values).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        # [B, R, S, S] -> [B, S, R, S]: for each row its relations to all columns
        joined = joined.transpose(1, 2)
        # [B, S, H, R] @ [B, S, R, S] -> [B, H, S, S]
        by_relation = ((query @ self.key_relations.T).transpose(1, 2) @ joined).transpose(1, 2)
        weights = self.dropout((query @ keys.transpose(-1, -2) + by_relation + bias).softmax(dim=-1))
        # [B, S, H, S] @ [B, S, S, R] -> [B, S, H, R]: how much of the attention went along each relation
        shares = weights.transpose(1, 2) @ joined.transpose(2, 3)
        mixed = (weights @ own).transpose(1, 2) + shares @ self.value_relations
        return self.output(mixed.flatten(2))  # type: ignore[no-any-return]
