"""The gated graph network of Beck et al. 2018 (after Li et al. 2016): a repeated gated step along the edges, with
weights for each kind of edge. Each step carries information two edges further.
"""

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from calque.batch import Source
from calque.config import Config, DropoutRate, Layers, NumEdgeKinds, Width
from calque.nn.dropout import Dropout
from calque.nn.embedding import Embedding
from calque.nn.graph.edges import num_relations, relations
from calque.nn.parts import Encoder, Memory, MemoryShape, as_memory
from calque.nn.typed import Linear


class GatedGraphEncoderConfig(Config):
    """Read a graph with gated steps along its edges."""

    kind: Literal["ggnn"] = "ggnn"
    """Gated graph network: a repeated gated step along the edges (Beck et al. 2018)."""
    layers: Layers = 6
    """Number of steps, which share weights; with each step a position sees two edges further."""
    width: Width = 256
    """Width of embeddings and memory."""
    dropout: DropoutRate = 0.2
    """Dropout on embeddings and memory."""
    edge_kinds: NumEdgeKinds = 2
    """Number of kinds of edges; training derives it from text.layout."""

    def build(self, embedding: Embedding) -> "GatedGraphEncoder":
        """Build the encoder."""
        return GatedGraphEncoder(self, embedding)


class GatedGraphEncoder(Encoder):
    """Read a graph with gated steps along its edges, forward, reversed and to itself."""

    def __init__(self, config: GatedGraphEncoderConfig, embedding: Embedding) -> None:
        super().__init__()
        self.embedding = embedding
        self.dropout = Dropout(config.dropout)
        self.layers, self.edge_kinds = config.layers, config.edge_kinds
        kinds = num_relations(config.edge_kinds)
        self.gates = KindwiseLinear(kinds, config.width, 2 * config.width)
        self.candidate = KindwiseLinear(kinds, config.width, config.width)
        self.shape = MemoryShape(config.width, config.width, 1, False)

    def forward(self, source: Source) -> Memory:
        """Encode B graphs; the summary is the mean of the states."""
        values = self.dropout(self.embedding(source.tokens))
        joined = relations(source, self.edge_kinds).to(values.dtype)
        for _ in range(self.layers):
            reset, update = torch.sigmoid(self.gates(values, joined)).chunk(2, dim=-1)
            candidate = torch.tanh(self.candidate(reset * values, joined))
            values = torch.lerp(values, candidate.to(values.dtype), update.to(values.dtype))
        return as_memory(self.dropout(values), source.mask)


class KindwiseLinear(nn.Module):
    """Average a dense layer of the neighbours over the edges of a position, with weights for each kind of edge."""

    def __init__(self, kinds: int, width: int, outputs: int) -> None:
        super().__init__()
        self.dense = Linear(kinds * width, outputs, bias=False)
        self.bias = Linear(kinds, outputs, bias=False)
        for kind in self.dense.weight.data.split(width, dim=1):
            nn.init.xavier_uniform_(kind)
        nn.init.zeros_(self.bias.weight)

    def forward(self, values: Tensor, joined: Tensor) -> Tensor:
        """Map values [B, S, D] to [B, S, outputs]; `joined` [B, K, S, S] is 1 where there is an edge of a kind."""
        # [B, K · S, S] @ [B, S, D] -> [B, K, S, D] -> [B, S, K · D]
        collected = (joined.flatten(1, 2) @ values).unflatten(1, joined.shape[1:3]).transpose(1, 2).flatten(2)
        # [B, K, S, S] -> [B, S, K]
        counts = joined.sum(dim=3).transpose(1, 2)
        total = self.dense(collected) + self.bias(counts)
        return total / counts.sum(dim=2, keepdim=True)

    if TYPE_CHECKING:
        __call__ = forward
