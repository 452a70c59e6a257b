"""Stacked layers over a graph: what a layer mixes along the edges, then a feed-forward network, each added to what went
in after a norm, as in a pre-norm Transformer (Vaswani et al. 2017).
"""

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from calque.batch import Source
from calque.config import Config, DropoutRate, Layers, NumEdgeKinds, NumHeads, Units, Width
from calque.errors import UsageError
from calque.nn.dropout import AddDropped, Dropout
from calque.nn.embedding import Embedding
from calque.nn.parts import Encoder, Memory, MemoryShape, as_memory
from calque.nn.transformer.feed_forward import Activation, build_feed_forward


class GraphLayersConfig(Config):
    """Share the fields of encoders of stacked layers."""

    layers: Layers = 4
    """Number of layers."""
    width: Width = 256
    """Width of embeddings, layers and memory."""
    heads: NumHeads = 4
    """Number of attention heads."""
    feed_forward: Units = 1024
    """Units of the feed-forward network in each layer."""
    activation: Activation = "relu"
    """Function in the feed-forward network; swiglu and geglu have a gate of as many units beside it."""
    dropout: DropoutRate = 0.1
    """Dropout on embeddings and on what each sublayer adds."""
    attention_dropout: DropoutRate = 0.0
    """Dropout on attention weights."""
    activation_dropout: DropoutRate = 0.0
    """Dropout inside the feed-forward network."""
    edge_kinds: NumEdgeKinds = 2
    """Number of kinds of edges; training takes it from text.layout."""


class GraphLayer(nn.Module):
    """Mix along the edges, then feed forward, each added to what went in."""

    def __init__(self, config: GraphLayersConfig, mix: nn.Module) -> None:
        super().__init__()
        self.mix_norm = nn.LayerNorm(config.width)
        self.mix = mix
        self.feed_forward_norm = nn.LayerNorm(config.width)
        self.feed_forward = build_feed_forward(
            config.width, config.feed_forward, config.activation, config.activation_dropout, bias=True
        )
        self.add = AddDropped(config.dropout)

    def forward(self, values: Tensor, joined: Tensor, bias: Tensor) -> Tensor:
        """Map [B, S, D] to [B, S, D]; `joined` and `bias` are as the encoder's `relate` gives them."""
        values = self.add(values, self.mix(self.mix_norm(values), joined, bias))
        return self.add(values, self.feed_forward(self.feed_forward_norm(values)))  # type: ignore[no-any-return]


class GraphLayersEncoder(Encoder):
    """Read a graph with stacked layers; a subclass says what relates positions, and gives the layers' mixing."""

    def __init__(self, config: GraphLayersConfig, embedding: Embedding, mixing: Callable[[], nn.Module]) -> None:
        super().__init__()
        if config.width % config.heads:
            raise UsageError(f"model.encoder.width must be a multiple of heads ({config.heads}), it is {config.width}")
        self.embedding = embedding
        self.dropout = Dropout(config.dropout)
        self.layers = nn.ModuleList(GraphLayer(config, mixing()) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.edge_kinds = config.edge_kinds
        self.shape = MemoryShape(config.width, config.width, 1, False)

    @abstractmethod
    def relate(self, source: Source) -> tuple[Tensor, Tensor]:
        """Return relations between positions [B, R, S, S], and what is hidden from each [B, 1, S or 1, S], as bool."""

    def forward(self, source: Source) -> Memory:
        """Encode B graphs; the summary is the mean of the states."""
        values = self.dropout(self.embedding(source.tokens))
        joined, hidden = self.relate(source)
        bias = torch.zeros(hidden.shape, dtype=values.dtype, device=values.device).masked_fill_(hidden, float("-inf"))
        joined = joined.to(values.dtype)
        for layer in self.layers:
            values = layer(values, joined, bias)
        return as_memory(self.norm(values), source.mask)
