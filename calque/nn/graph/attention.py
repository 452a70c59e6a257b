"""Graph attention (Veličković et al. 2018): each position attends, with several heads, to its neighbours.

The paper has one kind of edge; here each kind adds a learned number to the score of each head.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from calque.batch import Source
from calque.nn.dropout import Dropout
from calque.nn.embedding import Embedding
from calque.nn.graph.edges import num_relations, relations
from calque.nn.graph.layers import GraphLayersConfig, GraphLayersEncoder, GraphMixing
from calque.nn.typed import Linear

SLOPE = 0.2


class GraphAttentionEncoderConfig(GraphLayersConfig):
    """Read a graph with attention along its edges."""

    kind: Literal["gat"] = "gat"
    """Graph attention: each position attends to its neighbours (Veličković et al. 2018)."""

    def build(self, embedding: Embedding) -> "GraphAttentionEncoder":
        """Build the encoder."""
        return GraphAttentionEncoder(self, embedding)


class GraphAttentionEncoder(GraphLayersEncoder):
    """Read a graph with attention along its edges, forward, reversed and to itself."""

    def __init__(self, config: GraphAttentionEncoderConfig, embedding: Embedding) -> None:
        super().__init__(config, embedding, lambda: GraphAttention(config))

    def relate(self, source: Source) -> tuple[Tensor, Tensor]:
        """Return the edges, and hide positions that are not neighbours."""
        joined = relations(source, self.edge_kinds)
        return joined, ~joined.any(dim=1, keepdim=True)


class GraphAttention(GraphMixing):
    """Attend to neighbours: softmax over LeakyReLU(a · [W x to, W x from] + b of the kind), then ELU."""

    def __init__(self, config: GraphAttentionEncoderConfig) -> None:
        super().__init__()
        self.heads = config.heads
        per_head = config.width // config.heads
        self.project = Linear(config.width, config.width, bias=False)
        self.row = nn.Parameter(torch.empty(config.heads, per_head))
        self.column = nn.Parameter(torch.empty(config.heads, per_head))
        self.kinds = Linear(num_relations(config.edge_kinds), config.heads, bias=False)
        self.dropout = Dropout(config.attention_dropout)
        for weight in (self.project.weight, self.row, self.column, self.kinds.weight):
            nn.init.xavier_uniform_(weight)

    def forward(self, values: Tensor, joined: Tensor, bias: Tensor) -> Tensor:
        """Map [B, S, D] to [B, S, D]; `joined` [B, K, S, S] is 1 where there is an edge, `bias` hides the rest."""
        # [B, S, D] -> [B, S, H, D/H]
        projected = self.project(values).unflatten(-1, (self.heads, -1))
        # [B, S, H] -> [B, H, S, 1] and [B, H, 1, S]
        rows = (projected * self.row).sum(dim=-1).transpose(1, 2).unsqueeze(3)
        columns = (projected * self.column).sum(dim=-1).transpose(1, 2).unsqueeze(2)
        # [B, K, S, S] -> [B, H, S, S]
        kinds = self.kinds(joined.movedim(1, 3)).movedim(3, 1)
        scores = nn.functional.leaky_relu(rows + columns + kinds, SLOPE) + bias
        weights = self.dropout(scores.softmax(dim=-1))
        # [B, H, S, S] @ [B, H, S, D/H] -> [B, S, D]
        mixed = (weights @ projected.transpose(1, 2)).transpose(1, 2).flatten(2)
        return nn.functional.elu(mixed)
