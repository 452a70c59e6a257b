"""The layers of a Transformer's encoder and decoder, with a norm before or after each sublayer."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from calque.nn.attention.multihead import MultiHeadAttention, SelfAttention
from calque.nn.dropout import AddDropped
from calque.nn.norms import RESIDUALS
from calque.nn.parts import fold
from calque.nn.transformer.config import TransformerConfig
from calque.nn.transformer.mixer import Mixer, Sight
from calque.nn.transformer.positions import Turn
from calque.rows import Record


class EncoderLayer(nn.Module):
    """Self-attention and a feed-forward network, each added to its input."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.attention_norm = config.build_norm()
        self.attention = SelfAttention(config.width, config.attention_heads, config.width, config.attention_dropout)
        self.feed_forward_norm = config.build_norm()
        self.feed_forward = config.build_feed_forward()
        self.add = AddDropped(config.dropout)
        self.before, self.after = RESIDUALS[config.norm_position]

    def forward(self, values: Tensor, bias: Tensor, turn: Turn | None = None) -> Tensor:
        """Map [B, S, D] to [B, S, D]; `bias` [B, 1 or H, 1 or S, S] hides padding and may depend on distances."""
        mixed = self.attention.attend(self.before(self.attention_norm, values), bias, turn)
        values = self.after(self.attention_norm, self.add(values, mixed))
        change = self.feed_forward(self.before(self.feed_forward_norm, values))
        return self.after(self.feed_forward_norm, self.add(values, change))

    if TYPE_CHECKING:
        __call__ = forward


class DecoderLayer(nn.Module):
    """A mixer of target positions, attention to the memory and a feed-forward network, each added to its input."""

    def __init__(self, config: TransformerConfig, mixer: Mixer, memory_width: int) -> None:
        super().__init__()
        self.self_norm = config.build_norm()
        # Stored weights have this name for every kind of mixer.
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
        """Map [B, T, D] to [B, T, D]; also return the attention [B, H, T, S]; `bias` hides padding of the memory."""
        mixed = self.self_attention.mix(self.before(self.self_norm, values), sight)
        values = self.after(self.self_norm, self.add(values, mixed))
        query = self.memory_attention.project_query(self.before(self.memory_norm, values))
        mixed, weights = self.memory_attention(query, *memory, bias)
        return self._finish(values, mixed), weights

    if TYPE_CHECKING:
        __call__ = forward

    def step(
        self, values: Tensor, state: Record, sight: Sight, memory: tuple[Tensor, Tensor], bias: Tensor
    ) -> tuple[Tensor, Tensor, Record]:
        """Map one position per row [R, 1, D]; also return the attention and the mixer's next state."""
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
    """Return which of `count` layers run: in training each but the last is dropped at random (Fan et al. 2019).

    The last one always runs: a pointer and the coverage loss read its attention. Drawn from torch's generator.
    """
    if not (training and drop):
        return list(range(count))
    draws = torch.rand(count - 1).tolist()
    return [index for index, draw in enumerate([*draws, 1.0]) if draw >= drop]
