"""The layers of the Transformer's encoder and decoder, with the norm before or after each sublayer."""

from typing import Any

import torch
from torch import Tensor, nn

from calque.nn.attention.multihead import MultiHeadAttention, SelfAttention
from calque.nn.dropout import AddDropped
from calque.nn.norms import RESIDUALS
from calque.nn.parts import fold
from calque.nn.transformer.config import TransformerConfig
from calque.nn.transformer.mixer import Mixer, Sight
from calque.nn.transformer.positions import Turn


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward, each added to what went in."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.attention_norm = config.build_norm()
        self.attention = SelfAttention(config.width, config.attention_heads, config.width, config.attention_dropout)
        self.feed_forward_norm = config.build_norm()
        self.feed_forward = config.build_feed_forward()
        self.add = AddDropped(config.dropout)
        self.before, self.after = RESIDUALS[config.norm_position]

    def forward(self, values: Tensor, bias: Tensor, turn: Turn | None = None) -> Tensor:
        """Map [B, S, D] to [B, S, D]; `bias` [B, 1 or H, 1 or S, S] hides padding and may tell distances."""
        mixed = self.attention.attend(self.before(self.attention_norm, values), bias, turn)
        values = self.after(self.attention_norm, self.add(values, mixed))
        change = self.feed_forward(self.before(self.feed_forward_norm, values))
        return self.after(self.feed_forward_norm, self.add(values, change))


class DecoderLayer(nn.Module):
    """A mixer of the target's positions, attention to the memory and feed-forward, each added to what went in."""

    def __init__(self, config: TransformerConfig, mixer: Mixer, memory_width: int) -> None:
        super().__init__()
        self.self_norm = config.build_norm()
        # Whatever its kind, stored weights know it by this name.
        self.self_attention = mixer
        self.memory_norm = config.build_norm()
        self.memory_attention = MultiHeadAttention(
            config.width, config.attention_heads, memory_width, config.attention_dropout
        )
        self.feed_forward_norm = config.build_norm()
        self.feed_forward = config.build_feed_forward()
        self.add = AddDropped(config.dropout)
        self.before, self.after = RESIDUALS[config.norm_position]

    def forward(
        self, values: Tensor, sight: Sight, memory: tuple[Tensor, Tensor], bias: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Map [B, T, D] to [B, T, D] and say where the memory was read [B, H, T, S]; `bias` hides its padding."""
        mixed = self.self_attention.mix(self.before(self.self_norm, values), sight)
        values = self.after(self.self_norm, self.add(values, mixed))
        query = self.memory_attention.project_query(self.before(self.memory_norm, values))
        mixed, weights = self.memory_attention(query, *memory, bias)
        return self._finish(values, mixed), weights

    def step(
        self, values: Tensor, state: Any, sight: Sight, memory: tuple[Tensor, Tensor], bias: Tensor
    ) -> tuple[Tensor, Tensor, Any]:
        """Map one position a row [R, 1, D]; `state` is the mixer's, and the next is given."""
        mixed, state = self.self_attention.step(self.before(self.self_norm, values), state, sight)
        values = self.after(self.self_norm, self.add(values, mixed))
        # [B·K, 1, D] -> [B, K, D]: the K rows of a sentence are queries over one set of keys
        query = fold(self.before(self.memory_norm, values).squeeze(1), bias.shape[0])
        mixed, weights = self.memory_attention(self.memory_attention.project_query(query), *memory, bias)
        return self._finish(values, mixed.flatten(0, 1).unsqueeze(1)), weights, state

    def _finish(self, values: Tensor, mixed: Tensor) -> Tensor:
        values = self.after(self.memory_norm, self.add(values, mixed))
        change = self.feed_forward(self.before(self.feed_forward_norm, values))
        return self.after(self.feed_forward_norm, self.add(values, change))


def kept_layers(count: int, drop: float, training: bool) -> list[int]:
    """Return which of `count` layers run: in training each but the last falls out by chance (Fan et al. 2019).

    The last stays, since its attention is what a pointer and the coverage loss read. Drawn from torch's generator.
    """
    if not (training and drop):
        return list(range(count))
    draws = torch.rand(count - 1).tolist()
    return [index for index, draw in enumerate([*draws, 1.0]) if draw >= drop]
