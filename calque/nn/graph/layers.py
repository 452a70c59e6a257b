"""Encoders of graphs with stacked layers, each of mixing along the edges and a feed-forward network, with residual
connections and norms as in a pre-norm Transformer (Vaswani et al. 2017).
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from calque.batch import Source
from calque.config import Config, DropoutRate, Layers, NumEdgeKinds, NumHeads, Units, Width
from calque.errors import UsageError
from calque.nn.dropout import AddDropped, Dropout
from calque.nn.embedding import Embedding
from calque.nn.parts import Encoder, Memory, MemoryShape, as_memory
from calque.nn.transformer.feed_forward import Activation, build_feed_forward
from calque.nn.typed import LayerNorm, ModuleList


class GraphLayersConfig(Config):
    """Base of the configs of encoders with stacked layers."""

    layers: Layers = 4
    """Number of layers."""
    width: Width = 256
    """Width of embeddings, layers and memory."""
    heads: NumHeads = 4
    """Number of attention heads."""
    feed_forward: Units = 1024
    """Units of the feed-forward network in each layer."""
    activation: Activation = "relu"
    """Function of the feed-forward network; swiglu and geglu multiply it by a gate of as many units."""
    dropout: DropoutRate = 0.1
    """Dropout on embeddings and on the output of each sublayer."""
    attention_dropout: DropoutRate = 0.0
    """Dropout on attention weights."""
    activation_dropout: DropoutRate = 0.0
    """Dropout inside the feed-forward network."""
    edge_kinds: NumEdgeKinds = 2
    """Number of kinds of edges; training derives it from text.layout."""


class GraphMixing(nn.Module):
    """Base of modules that mix the positions of a graph."""

    def forward(self, values: Tensor, joined: Tensor, bias: Tensor) -> Tensor:
        """Map [B, S, D] to [B, S, D]; `joined` and `bias` are the results of the encoder's `relate`."""
        raise NotImplementedError

    if TYPE_CHECKING:
        __call__ = forward


class GraphLayer(nn.Module):
    """Mixing along the edges and a feed-forward network, each added to its input."""

    def __init__(self, config: GraphLayersConfig, mix: GraphMixing) -> None:
        super().__init__()
        self.mix_norm = LayerNorm(config.width)
        self.mix = mix
        self.feed_forward_norm = LayerNorm(config.width)
        self.feed_forward = build_feed_forward(
            config.width, config.feed_forward, config.activation, config.activation_dropout, bias=True
        )
        self.add = AddDropped(config.dropout)

    def forward(self, values: Tensor, joined: Tensor, bias: Tensor) -> Tensor:
        """Map [B, S, D] to [B, S, D]; `joined` and `bias` are the results of the encoder's `relate`."""
        values = self.add(values, self.mix(self.mix_norm(values), joined, bias))
        return self.add(values, self.feed_forward(self.feed_forward_norm(values)))

    if TYPE_CHECKING:
        __call__ = forward


class GraphLayersEncoder(Encoder):
    """Base of encoders with stacked layers; subclasses define the relations of positions and the mixing."""

    def __init__(self, config: GraphLayersConfig, embedding: Embedding, mixing: Callable[[], GraphMixing]) -> None:
        super().__init__()
        if config.width % config.heads:
            raise UsageError(f"model.encoder.width must be a multiple of heads ({config.heads}), it is {config.width}")
        self.embedding = embedding
        self.dropout = Dropout(config.dropout)
        self.layers = ModuleList(GraphLayer(config, mixing()) for _ in range(config.layers))
        self.norm = LayerNorm(config.width)
        self.edge_kinds = config.edge_kinds
        self.shape = MemoryShape(config.width, config.width, 1, False)

    @abstractmethod
    def relate(self, source: Source) -> tuple[Tensor, Tensor]:
        """Return relations between positions [B, R, S, S] and hidden positions [B, 1, S or 1, S], both bool."""

    def forward(self, source: Source) -> Memory:
        """Encode B graphs; the summary is the mean of the states."""
        values = self.dropout(self.embedding(source.tokens))
        joined, hidden = self.relate(source)
        bias = torch.zeros(hidden.shape, dtype=values.dtype, device=values.device).masked_fill_(hidden, float("-inf"))
        joined = joined.to(values.dtype)
        for layer in self.layers:
            values = layer(values, joined, bias)
        return as_memory(self.norm(values), source.mask)
