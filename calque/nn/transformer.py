"""The Transformer of Vaswani et al. 2017, pre-norm: encoder, and decoder with a preallocated cache."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from calque.batch import Source
from calque.config import Config
from calque.errors import UsageError
from calque.nn.dropout import AddDropped, Dropout
from calque.nn.embedding import Embedding, sinusoids
from calque.nn.multihead import Cache, MultiHeadAttention, empty_cache, glorot, hide_future, hide_padding
from calque.nn.parts import Decoder, Encoder, Memory, MemoryShape, Output, fold


class TransformerConfig(Config):
    """Share the fields of both sides."""

    kind: Literal["transformer"] = "transformer"
    """The kind of part."""
    layers: int = 4
    """Number of layers."""
    width: int = 256
    """Width of embeddings, layers and memory."""
    heads: int = 4
    """Number of attention heads."""
    feed_forward: int = 1024
    """Units of the feed-forward network in each layer."""
    dropout: float = 0.1
    """Dropout on embeddings and on what each sublayer adds."""
    attention_dropout: float = 0.0
    """Dropout on attention weights."""
    activation_dropout: float = 0.0
    """Dropout inside the feed-forward network."""


class TransformerEncoderConfig(TransformerConfig):
    """Read the source with self-attention."""

    def build(self, embedding: Embedding) -> "TransformerEncoder":
        """Build the encoder."""
        return TransformerEncoder(self, embedding)


class TransformerDecoderConfig(TransformerConfig):
    """Write the target with self-attention and attention to the memory."""

    def build(self, embedding: Embedding, shape: MemoryShape) -> "TransformerDecoder":
        """Build the decoder for memories of `shape`."""
        return TransformerDecoder(self, embedding, shape)


@dataclass(frozen=True)
class TransformerState:
    """Hold one cache a layer and the position [R] of each row."""

    caches: tuple[Cache, ...]
    position: Tensor


@dataclass(frozen=True)
class TransformerContext:
    """Hold each layer's keys and values of the memory [B, H, S, D/H], and its mask [B, S]."""

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    mask: Tensor


class FeedForward(nn.Module):
    """Apply two dense layers with ReLU between them."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.inner = nn.Linear(config.width, config.feed_forward)
        self.outer = nn.Linear(config.feed_forward, config.width)
        glorot(self.inner)
        glorot(self.outer)
        self.dropout = Dropout(config.activation_dropout)

    def forward(self, values: Tensor) -> Tensor:
        """Map [.., D] to [.., D]."""
        return self.outer(self.dropout(torch.relu(self.inner(values))))  # type: ignore[no-any-return]


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward, each added to what went in."""

    def __init__(self, config: TransformerEncoderConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.width)
        self.attention = MultiHeadAttention(config.width, config.heads, config.width, config.attention_dropout)
        self.feed_forward_norm = nn.LayerNorm(config.width)
        self.feed_forward = FeedForward(config)
        self.add = AddDropped(config.dropout)

    def forward(self, values: Tensor, bias: Tensor) -> Tensor:
        """Map [B, S, D] to [B, S, D]; `bias` [B, 1, 1, S] hides padding."""
        normed = self.attention_norm(values)
        keys, memory = self.attention.project_memory(normed)
        mixed, _ = self.attention(self.attention.project_query(normed), keys, memory, bias)
        values = self.add(values, mixed)
        return self.add(values, self.feed_forward(self.feed_forward_norm(values)))  # type: ignore[no-any-return]


class DecoderLayer(nn.Module):
    """Self-attention, attention to the memory and feed-forward, each added to what went in."""

    def __init__(self, config: TransformerDecoderConfig, memory_width: int) -> None:
        super().__init__()
        self.self_norm = nn.LayerNorm(config.width)
        self.self_attention = MultiHeadAttention(config.width, config.heads, config.width, config.attention_dropout)
        self.memory_norm = nn.LayerNorm(config.width)
        self.memory_attention = MultiHeadAttention(config.width, config.heads, memory_width, config.attention_dropout)
        self.feed_forward_norm = nn.LayerNorm(config.width)
        self.feed_forward = FeedForward(config)
        self.add = AddDropped(config.dropout)

    def forward(
        self, values: Tensor, causal: Tensor, memory: tuple[Tensor, Tensor], bias: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Map [B, T, D] to [B, T, D] and say where the memory was read [B, H, T, S]."""
        normed = self.self_norm(values)
        keys, own = self.self_attention.project_memory(normed)
        mixed, _ = self.self_attention(self.self_attention.project_query(normed), keys, own, causal)
        values = self.add(values, mixed)
        query = self.memory_attention.project_query(self.memory_norm(values))
        mixed, weights = self.memory_attention(query, *memory, bias)
        return self._finish(values, mixed), weights

    def step(
        self, values: Tensor, state: tuple[Cache, Tensor], memory: tuple[Tensor, Tensor], bias: Tensor
    ) -> tuple[Tensor, Tensor, Cache]:
        """Map one position a row [R, 1, D]; `state` is the cache and each row's position [R]."""
        cache, position = state
        normed = self.self_norm(values)
        cache = cache.write(*self.self_attention.project_memory(normed), position)
        # [R, 1, 1, C]: a row sees the places up to its own position
        own = hide_future(position[:, None, None, None], torch.arange(cache.length, device=position.device), values)
        mixed, _ = self.self_attention(self.self_attention.project_query(normed), *cache.filled(), own)
        values = self.add(values, mixed)
        # [B·K, 1, D] -> [B, K, D]: the K rows of a sentence are queries over one set of keys
        query = fold(self.memory_norm(values).squeeze(1), bias.shape[0])
        mixed, weights = self.memory_attention(self.memory_attention.project_query(query), *memory, bias)
        return self._finish(values, mixed.flatten(0, 1).unsqueeze(1)), weights, cache

    def _finish(self, values: Tensor, mixed: Tensor) -> Tensor:
        values = self.add(values, mixed)
        return self.add(values, self.feed_forward(self.feed_forward_norm(values)))  # type: ignore[no-any-return]


class TransformerEncoder(Encoder):
    """Read the source with self-attention."""

    def __init__(self, config: TransformerEncoderConfig, embedding: Embedding) -> None:
        super().__init__()
        check_heads("model.encoder", config)
        self.embedding = embedding
        self.dropout = Dropout(config.dropout)
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.shape = MemoryShape(config.width, config.width, 1, False)

    def forward(self, source: Source) -> Memory:
        """Encode B sentences; the summary is the mean of the states."""
        embedded = self.embedding(source.tokens)
        place = torch.arange(source.tokens.shape[1], device=source.tokens.device)
        values = self.dropout(embedded + sinusoids(place, embedded.shape[-1]).to(embedded.dtype))
        bias = hide_padding(source.mask, values)
        for layer in self.layers:
            values = layer(values, bias)
        states = self.norm(values)
        kept = states * source.mask.unsqueeze(-1)
        mean = kept.sum(dim=1, keepdim=True) / source.mask.sum(dim=1)[:, None, None]
        return Memory(states, source.mask, (mean,))


class TransformerDecoder(Decoder):
    """Write the target with self-attention and attention to the memory."""

    has_attention = True

    def __init__(self, config: TransformerDecoderConfig, embedding: Embedding, shape: MemoryShape) -> None:
        super().__init__()
        check_heads("model.decoder", config)
        self.width, self.heads = config.width, config.heads
        self.embedding = embedding
        self.dropout = Dropout(config.dropout)
        self.layers = nn.ModuleList(DecoderLayer(config, shape.width) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)

    def start(self, memory: Memory) -> tuple[TransformerContext, TransformerState]:
        """Project the memory once for every layer and lay out empty caches."""
        context = self._read(memory)
        rows = memory.states.shape[0]
        caches = tuple(empty_cache(memory.states, self.heads, self.width) for _ in self.layers)
        return context, TransformerState(caches, torch.zeros(rows, dtype=torch.int64, device=memory.mask.device))

    def step(
        self, token: Tensor, state: TransformerState, context: TransformerContext
    ) -> tuple[Output, TransformerState]:
        """Read one token a row."""
        embedded = self.embedding(token)
        values = self.dropout(embedded + sinusoids(state.position, self.width).to(embedded.dtype)).unsqueeze(1)
        bias = hide_padding(context.mask, values)
        caches = []
        for index, layer in enumerate(self.layers):
            memory = (context.keys[index], context.values[index])
            place = (state.caches[index], state.position)
            values, weights, cache = layer.step(values, place, memory, bias)  # type: ignore[operator]
            caches.append(cache)
        # [B, H, K, S] -> [B·K, S], the mean of the heads
        attention = weights.mean(dim=1).flatten(0, 1)
        return Output(self.norm(values).squeeze(1), attention), TransformerState(tuple(caches), state.position + 1)

    def forward(self, tokens: Tensor, memory: Memory) -> Output:
        """Read tokens [B, T] at once; the attention is the last layer's, averaged over its heads."""
        context = self._read(memory)
        embedded = self.embedding(tokens)
        place = torch.arange(tokens.shape[1], device=tokens.device)
        values = self.dropout(embedded + sinusoids(place, self.width).to(embedded.dtype))
        causal = hide_future(place[:, None], place, values)
        bias = hide_padding(context.mask, values)
        for index, layer in enumerate(self.layers):
            values, weights = layer(values, causal, (context.keys[index], context.values[index]), bias)
        return Output(self.norm(values), weights.mean(dim=1))

    def _read(self, memory: Memory) -> TransformerContext:
        both = [layer.memory_attention.project_memory(memory.states) for layer in self.layers]  # type: ignore[operator, union-attr]
        return TransformerContext(tuple(keys for keys, _ in both), tuple(values for _, values in both), memory.mask)


def check_heads(name: str, config: TransformerConfig) -> None:
    """Refuse a width that the heads cannot share, or that sines and cosines cannot."""
    if config.width % config.heads or config.width % 2:
        raise UsageError(f"{name}.width must be even and a multiple of heads ({config.heads}), it is {config.width}")
