"""The Transformer of Vaswani et al. 2017 with its later variants: encoder, and decoder with a state a row.

What varies is chosen when a part is built: norms, positions, heads, feed-forward, what mixes the target's positions.
"""

from dataclasses import dataclass
from typing import Any

import torch
from pydantic import model_validator
from torch import Tensor, nn

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


class TransformerEncoderConfig(TransformerConfig):
    """Read the source with self-attention."""

    def build(self, embedding: Embedding) -> "TransformerEncoder":
        """Build the encoder."""
        return TransformerEncoder(self, embedding)


class TransformerDecoderConfig(TransformerConfig):
    """Write the target with self-attention, or something cheaper, and attention to the memory."""

    mixer: MixerConfig = SelfAttentionConfig()
    """What mixes the target's own positions: self-attention, or in its place an SSRU or the mean so far."""
    coverage_loss: LossWeight = 0.0
    """Weight of the loss for attending again, with the last layer's heads averaged, what was attended before."""

    def build(self, embedding: Embedding, shape: MemoryShape) -> "TransformerDecoder":
        """Build the decoder for memories of `shape`."""
        return TransformerDecoder(self, embedding, shape)

    @model_validator(mode="before")
    @classmethod
    def _has_no_coverage_to_feed(cls, values: Any) -> Any:
        if isinstance(values, dict) and (asked := sorted({"attention", "coverage", "input_feeding"} & values.keys())):
            raise ValueError(
                f"{asked[0]} is for recurrent decoders. A transformer reads all target positions at once by multi-head"
                " attention; with coverage or a vector fed to the score, positions would have to wait for each other."
                " Set coverage_loss (in training, a loss alone), or kind = lstm"
            )
        return values


@dataclass(frozen=True)
class TransformerState:
    """One state of the mixer a layer, the position [R] of each row, and for a coverage loss the attention given
    so far [R, S].
    """

    caches: tuple[Any, ...]
    position: Tensor
    attended: Tensor | None = None


@dataclass(frozen=True)
class TransformerContext:
    """Each layer's keys and values of the memory [B, G, S, d], and its mask [B, S]."""

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
        self.embedding_norm = config.build_norm() if config.norm_embeddings else nn.Identity()
        self.dropout = Dropout(config.dropout)
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.layers))
        self.norm = config.build_norm() if config.norm_position == "pre" else nn.Identity()
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
        self.embedding_norm = config.build_norm() if config.norm_embeddings else nn.Identity()
        self.dropout = Dropout(config.dropout)
        self.layers = nn.ModuleList(
            DecoderLayer(config, config.mixer.build(config), shape.width) for _ in range(config.layers)
        )
        self.norm = config.build_norm() if config.norm_position == "pre" else nn.Identity()
        self.coverage_loss = config.coverage_loss
        if self.positions.acts_on_attention and not self._layers[0].self_attention.attends:
            raise UsageError(
                f"model.decoder.positions: {config.positions.kind} acts on self-attention, in whose place"
                f" model.decoder.mixer puts {config.mixer.kind}; set sinusoidal, learned or none"
            )

    def start(self, memory: Memory) -> tuple[TransformerContext, TransformerState]:
        """Project the memory once for every layer and lay out empty states."""
        caches = tuple(layer.self_attention.start(memory.states) for layer in self._layers)
        position = torch.zeros(memory.mask.shape[0], dtype=torch.int64, device=memory.mask.device)
        attended = torch.zeros_like(memory.states[:, :, 0]) if self.coverage_loss else None
        read = self._read(memory)
        # Every step's products would copy what lies scattered.
        keys, values = (tuple(part.contiguous() for part in parts) for parts in (read.keys, read.values))
        return TransformerContext(keys, values, read.mask), TransformerState(caches, position, attended)

    def step(
        self, token: Tensor, state: TransformerState, context: TransformerContext
    ) -> tuple[Output, TransformerState]:
        """Read one token a row."""
        position = state.position.unsqueeze(1)
        values = self._embed(token.unsqueeze(1), position)
        sight = self._look(position, self._layers[0].self_attention.num_places(state.caches[0]), values)
        bias = hide_padding(context.mask, values)
        caches = []
        for index, layer in enumerate(self._layers):
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
        """Read tokens [B, T] at once; the attention is the last layer's, averaged over its heads."""
        context = self._read(memory)
        length = tokens.shape[1]
        self.positions.check(length)
        place = torch.arange(length, device=tokens.device)
        values = self._embed(tokens, place)
        sight = self._look(place, length if self._layers[0].self_attention.attends else 0, values)
        bias = hide_padding(context.mask, values)
        for index in kept_layers(len(self.layers), self.layer_drop, self.training):
            values, weights = self.layers[index](values, sight, (context.keys[index], context.values[index]), bias)
        attention = weights.mean(dim=1)
        if not self.coverage_loss:
            return Output(self.norm(values), attention)
        # What was attended to before each position: the sums up to the one before it.
        before = attended_before(attention)
        return Output(self.norm(values), attention, self.coverage_loss * repetition(attention, before))

    @property
    def _layers(self) -> list[DecoderLayer]:
        return list(self.layers)  # type: ignore[arg-type]

    def _embed(self, tokens: Tensor, position: Tensor) -> Tensor:
        """Return vectors [.., T, D] of tokens [.., T] at `position` [T] or [R, 1]."""
        embedded = self.positions.add_to(self.embedding(tokens, self.scale_embeddings), position)
        return self.dropout(self.embedding_norm(embedded))  # type: ignore[no-any-return]

    def _look(self, position: Tensor, num_places: int, like: Tensor) -> Sight:
        """Return what tokens at `position` [T] or [R, 1] see of the first places: those up to their own."""
        if not num_places:
            return Sight(position)
        places = torch.arange(num_places, device=position.device)
        # [.., T, C] -> [.., 1, T, C]
        hidden = hide_future(position.unsqueeze(-1), places, like).unsqueeze(-3)
        return Sight(position, self.positions.biased(hidden, position, places), self.positions.turn(position))

    def _read(self, memory: Memory) -> TransformerContext:
        both = [layer.memory_attention.project_memory(memory.states) for layer in self._layers]
        return TransformerContext(tuple(keys for keys, _ in both), tuple(values for _, values in both), memory.mask)
