"""The Transformer of Vaswani et al. 2017 and its later variants: an encoder, and a decoder with a state per row.

A part is built with its norms, positions, heads, feed-forward networks and mixers; its code has no branches for them.
"""

from dataclasses import dataclass

import torch
from pydantic import model_validator
from torch import Tensor

from calque.batch import Source
from calque.config import LossWeight
from calque.errors import UsageError
from calque.nn.attention.attention import attended_before, repetition
from calque.nn.attention.multihead import hide_future, hide_padding
from calque.nn.dropout import Dropout
from calque.nn.embedding import Embedding
from calque.nn.parts import Decoder, Encoder, Memory, MemoryShape, Output, as_memory
from calque.nn.transformer.config import TransformerConfig
from calque.nn.transformer.layers import DecoderLayer, EncoderLayer, kept_layers
from calque.nn.transformer.mixer import Sight
from calque.nn.transformer.mixer_kinds import MixerConfig, SelfAttentionConfig
from calque.nn.typed import Identity, ModuleList
from calque.rows import Record


class TransformerEncoderConfig(TransformerConfig):
    """Read the source with self-attention."""

    def build(self, embedding: Embedding) -> "TransformerEncoder":
        """Build the encoder."""
        return TransformerEncoder(self, embedding)


class TransformerDecoderConfig(TransformerConfig):
    """Write the target with self-attention, or a faster mixer, and attention to the memory."""

    mixer: MixerConfig = SelfAttentionConfig()
    """Mixer of target positions: self-attention, an SSRU, or the mean of all positions so far."""
    coverage_loss: LossWeight = 0.0
    """Weight of the loss for attending to the same positions again, by the mean attention of the last layer."""

    def build(self, embedding: Embedding, shape: MemoryShape) -> "TransformerDecoder":
        """Build the decoder for memories of `shape`."""
        return TransformerDecoder(self, embedding, shape)

    @model_validator(mode="before")
    @classmethod
    def _refuse_recurrent_fields(cls, values: object) -> object:
        if isinstance(values, dict) and (asked := sorted({"attention", "coverage", "input_feeding"} & values.keys())):
            raise ValueError(
                f"{asked[0]} is for recurrent decoders. A transformer attends from all target positions at once,"
                " so no position can depend on the attention of the one before. Set coverage_loss, or kind = lstm"
            )
        return values


@dataclass(frozen=True)
class TransformerState:
    """The state of each layer's mixer, the `position` [R] of each row and, for a coverage loss, the sum of the
    attention so far [R, S].
    """

    caches: tuple[Record, ...]
    position: Tensor
    attended: Tensor | None = None


@dataclass(frozen=True)
class TransformerContext:
    """Keys and values of the memory for each layer, [B, G, S, d], and the memory's mask [B, S]."""

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    mask: Tensor


class TransformerEncoder(Encoder):
    """Read the source with self-attention."""

    def __init__(self, config: TransformerEncoderConfig, embedding: Embedding) -> None:
        super().__init__()
        self.embedding = embedding
        self.positions = config.build_positions("model.encoder", sees_ahead=True)
        self.scale_embeddings, self.layer_drop = config.scale_embeddings, config.layer_drop
        self.embedding_norm = config.build_norm() if config.norm_embeddings else Identity()
        self.dropout = Dropout(config.dropout)
        self.layers = ModuleList(EncoderLayer(config) for _ in range(config.layers))
        self.norm = config.build_norm() if config.norm_position == "pre" else Identity()
        self.shape = MemoryShape(config.width, config.width, 1, False)

    def forward(self, source: Source) -> Memory:
        """Encode B sentences; the summary is the mean of the states."""
        length = source.tokens.shape[1]
        self.positions.check(length)
        place = torch.arange(length, device=source.tokens.device)
        embedded = self.positions.add_to(self.embedding(source.tokens, self.scale_embeddings), place)
        values = self.dropout(self.embedding_norm(embedded))
        bias = self.positions.biased(hide_padding(source.mask, values), place, place)
        turn = self.positions.turn(place)
        for index in kept_layers(len(self.layers), self.layer_drop, self.training):
            values = self.layers[index](values, bias, turn)
        return as_memory(self.norm(values), source.mask)


class TransformerDecoder(Decoder):
    """Write the target with a mixer of its positions and attention to the memory."""

    has_attention = True

    def __init__(self, config: TransformerDecoderConfig, embedding: Embedding, shape: MemoryShape) -> None:
        super().__init__()
        self.width = config.width
        self.embedding = embedding
        self.positions = config.build_positions("model.decoder", sees_ahead=False)
        self.scale_embeddings, self.layer_drop = config.scale_embeddings, config.layer_drop
        self.embedding_norm = config.build_norm() if config.norm_embeddings else Identity()
        self.dropout = Dropout(config.dropout)
        self.layers = ModuleList(
            DecoderLayer(config, config.mixer.build(config), shape.width) for _ in range(config.layers)
        )
        self.norm = config.build_norm() if config.norm_position == "pre" else Identity()
        self.coverage_loss = config.coverage_loss
        if self.positions.acts_on_attention and not self.layers[0].self_attention.attends:
            raise UsageError(
                f"model.decoder.positions: {config.positions.kind} needs self-attention, but model.decoder.mixer is"
                f" {config.mixer.kind}; set positions to sinusoidal, learned or none"
            )

    def start(self, memory: Memory) -> tuple[TransformerContext, TransformerState]:
        """Project the memory for each layer; return empty states."""
        caches = tuple(layer.self_attention.start(memory.states) for layer in self.layers)
        position = torch.zeros(memory.mask.shape[0], dtype=torch.int64, device=memory.mask.device)
        attended = torch.zeros_like(memory.states[:, :, 0]) if self.coverage_loss else None
        read = self._read(memory)
        # Otherwise the products of every step would copy them.
        keys, values = (tuple(part.contiguous() for part in parts) for parts in (read.keys, read.values))
        return TransformerContext(keys, values, read.mask), TransformerState(caches, position, attended)

    def step(
        self, token: Tensor, state: TransformerState, context: TransformerContext
    ) -> tuple[Output, TransformerState]:
        """Read one token per row."""
        position = state.position.unsqueeze(1)
        values = self._embed(token.unsqueeze(1), position)
        sight = self._look(position, self.layers[0].self_attention.num_places(state.caches[0]), values)
        bias = hide_padding(context.mask, values)
        caches = []
        for index, layer in enumerate(self.layers):
            memory = (context.keys[index], context.values[index])
            values, weights, cache = layer.step(values, state.caches[index], sight, memory, bias)
            caches.append(cache)
        # [B, H, K, S] -> [B·K, S], the mean of the heads
        attention = weights.mean(dim=1).flatten(0, 1)
        penalty, attended = None, state.attended
        if attended is not None:
            penalty, attended = self.coverage_loss * repetition(attention, attended), attended + attention
        output = Output(self.norm(values).squeeze(1), attention, penalty)
        return output, TransformerState(tuple(caches), state.position + 1, attended)

    def forward(self, tokens: Tensor, memory: Memory) -> Output:
        """Read all tokens [B, T] at once; the attention is the mean of the last layer's heads."""
        context = self._read(memory)
        length = tokens.shape[1]
        self.positions.check(length)
        place = torch.arange(length, device=tokens.device)
        values = self._embed(tokens, place)
        sight = self._look(place, length if self.layers[0].self_attention.attends else 0, values)
        bias = hide_padding(context.mask, values)
        for index in kept_layers(len(self.layers), self.layer_drop, self.training):
            values, weights = self.layers[index](values, sight, (context.keys[index], context.values[index]), bias)
        attention = weights.mean(dim=1)
        if not self.coverage_loss:
            return Output(self.norm(values), attention)
        before = attended_before(attention)
        return Output(self.norm(values), attention, self.coverage_loss * repetition(attention, before))

    def _embed(self, tokens: Tensor, position: Tensor) -> Tensor:
        """Return vectors [.., T, D] of tokens [.., T] at `position` [T] or [R, 1]."""
        embedded = self.positions.add_to(self.embedding(tokens, self.scale_embeddings), position)
        return self.dropout(self.embedding_norm(embedded))

    def _look(self, position: Tensor, num_places: int, like: Tensor) -> Sight:
        """Return the sight of tokens at `position` [T] or [R, 1]: of the first places, those up to their own."""
        if not num_places:
            return Sight(position)
        places = torch.arange(num_places, device=position.device)
        # [.., T, C] -> [.., 1, T, C]
        hidden = hide_future(position.unsqueeze(-1), places, like).unsqueeze(-3)
        return Sight(position, self.positions.biased(hidden, position, places), self.positions.turn(position))

    def _read(self, memory: Memory) -> TransformerContext:
        both = [layer.memory_attention.project_memory(memory.states) for layer in self.layers]
        return TransformerContext(tuple(keys for keys, _ in both), tuple(values for _, values in both), memory.mask)
