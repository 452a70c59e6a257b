"""Multi-head attention (Vaswani et al. 2017), also with grouped keys and values (Ainslie et al. 2023), its cache for
decoding step by step, and masks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from calque.nn.attention.short_softmax import short_softmax
from calque.nn.dropout import Dropout
from calque.nn.init import glorot
from calque.nn.transformer.mixer import Mixer, Sight
from calque.nn.transformer.positions import Turn, rotate
from calque.nn.typed import Linear
from calque.rows import join

FIRST_CAPACITY = 32


@dataclass(frozen=True)
class Cache:
    """Keys and values [R, G, C, d] of one layer; the first `length` of C places are filled.

    If the cache is ragged, rows have joined later and may fill fewer places. The others are zero, not NaN, because
    their values are multiplied by weights of 0.
    """

    keys: Tensor
    values: Tensor
    length: int
    is_ragged: bool = False

    def select_rows(self, index: Tensor) -> "Cache":
        """Return the rows `index`; only filled places are copied."""
        return replace(self, keys=self._take(self.keys, index), values=self._take(self.values, index))

    def _take(self, old: Tensor, index: Tensor) -> Tensor:
        new = old.new_empty(index.shape[0], *old.shape[1:])
        new[:, :, : self.length] = old[:, :, : self.length].index_select(0, index)
        return new

    def join_rows(self, others: Sequence["Cache"]) -> "Cache":
        """Return a cache with the rows of all."""
        caches = (self, *others)
        length = max(cache.length for cache in caches)
        parts = [[old[:, :, : cache.length] for old in (cache.keys, cache.values)] for cache in caches]
        keys, values = (join(side) for side in zip(*parts, strict=True))
        room = (0, 0, 0, FIRST_CAPACITY)
        return Cache(nn.functional.pad(keys, room), nn.functional.pad(values, room), length, is_ragged=True)

    def write(self, key: Tensor, value: Tensor, position: Tensor) -> "Cache":
        """Write one key and value per row [R, G, 1, d] at its `position` [R], in place while there is room."""
        keys, values = self.keys, self.values
        if self.length == keys.shape[2]:
            keys, values = (nn.functional.pad(old, (0, 0, 0, self.length)) for old in (keys, values))
        elif torch.is_grad_enabled() and key.requires_grad:
            # An objective that decodes step by step: backward needs the unchanged places.
            keys, values = keys.clone(), values.clone()
        if self.is_ragged:
            keys[:, :, self.length] = values[:, :, self.length] = 0
        rows = torch.arange(position.shape[0], device=position.device)
        # With autocast, projections have another type than the memory, whose type the cache has.
        keys[rows, :, position] = key.squeeze(2).type_as(keys)
        values[rows, :, position] = value.squeeze(2).type_as(values)
        return replace(self, keys=keys, values=values, length=self.length + 1)

    def filled(self) -> tuple[Tensor, Tensor]:
        """Return the filled places of keys and values."""
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]


@dataclass(frozen=True)
class Heads:
    """The `number` of heads, of sets of keys and values (0: one per head), the `width` of a head (0: the model's
    divided by the number of heads), and whether the projections have biases.
    """

    number: int
    key_value: int = 0
    width: int = 0
    bias: bool = True


class MultiHeadAttention(nn.Module):
    """Attend with H heads over G sets of keys and values; the width of the memory may differ from that of queries."""

    def __init__(self, width: int, heads: Heads | int, memory_width: int, dropout: float) -> None:
        super().__init__()
        heads = Heads(heads) if isinstance(heads, int) else heads
        self.heads, self.groups = heads.number, heads.key_value or heads.number
        self.head_width = heads.width or width // heads.number
        self.scale: float = self.head_width**-0.5
        self.query = Linear(width, self.heads * self.head_width, bias=heads.bias)
        self.key_value = Linear(memory_width, 2 * self.groups * self.head_width, bias=heads.bias)
        self.output = Linear(self.heads * self.head_width, width, bias=heads.bias)
        self.dropout = Dropout(dropout)
        self.product = torch.matmul if self.groups == self.heads else grouped_product
        glorot(self.query)
        glorot(self.key_value, num_blocks=2)
        glorot(self.output)

    def project_query(self, values: Tensor) -> Tensor:
        """[B, T, D] -> [B, H, T, d], scaled."""
        query: Tensor = self.query(values).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return query * self.scale

    def project_memory(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """[B, S, D] -> keys and values, each [B, G, S, d]."""
        # [B, S, 2 G d] -> [B, S, 2, G, d] -> [2, B, G, S, d]
        both = self.key_value(memory).unflatten(-1, (2, self.groups, -1)).permute(2, 0, 3, 1, 4)
        keys, values = both.unbind()
        return keys, values

    def forward(self, query: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return (mixed [B, T, D], weights [B, H, T, S]); `bias` (−inf hides) broadcasts to the scores."""
        # Plain products: on a CPU, fused attention is slower for rows as short as sentences.
        scores = self.product(query, keys.transpose(-1, -2))
        weights = short_softmax(scores if bias is None else scores + bias)
        mixed = self.product(self.dropout(weights), values)
        return self.output(mixed.transpose(1, 2).flatten(2)), weights

    if TYPE_CHECKING:
        __call__ = forward


def grouped_product(left: Tensor, right: Tensor) -> Tensor:
    """Multiply [B, H, T, N] by [B, G, N, M] -> [B, H, T, M], where each group of H/G heads shares one matrix."""
    # [B, H, T, N] -> [B, G, H/G · T, N]: all queries of a group in one product, so that keys are not copied
    folded: Tensor = left.unflatten(1, (right.shape[1], -1)).flatten(2, 3)
    return (folded @ right).view(*left.shape[:3], right.shape[3])


class SelfAttention(MultiHeadAttention, Mixer):
    """Attend to positions of the same sequence."""

    attends = True

    def attend(self, values: Tensor, bias: Tensor | None, turn: Turn | None = None) -> Tensor:
        """Map [B, T, D] to [B, T, D]; `bias` and `turn` as in `Sight`."""
        query, (keys, own) = self.project_query(values), self.project_memory(values)
        if turn is not None:
            query, keys = rotate(query, turn), rotate(keys, turn)
        return self(query, keys, own, bias)[0]

    def mix(self, values: Tensor, sight: Sight) -> Tensor:
        """Map [B, T, D] to [B, T, D]."""
        return self.attend(values, sight.bias, sight.turn)

    def start(self, like: Tensor) -> Cache:
        """Return an empty cache."""
        return empty_cache(like, self.groups, self.groups * self.head_width)

    def step(self, values: Tensor, state: Cache, sight: Sight) -> tuple[Tensor, Cache]:
        """Map one position per row [R, 1, D], which attends to all places up to its own."""
        query, (key, own) = self.project_query(values), self.project_memory(values)
        if sight.turn is not None:
            query, key = rotate(query, sight.turn), rotate(key, sight.turn)
        cache = state.write(key, own, sight.position.squeeze(1))
        return self(query, *cache.filled(), sight.bias)[0], cache

    def num_places(self, state: Cache) -> int:
        """Return C: the filled places and the next one."""
        return state.length + 1


def empty_cache(like: Tensor, heads: int, width: int) -> Cache:
    """Return an empty cache for the rows of `like` [R, ..]."""
    room = (like.shape[0], heads, FIRST_CAPACITY, width // heads)
    return Cache(like.new_zeros(room), like.new_zeros(room), 0)


def hide_padding(mask: Tensor, like: Tensor) -> Tensor:
    """Return a bias [B, 1, 1, S] that is −inf where `mask` [B, S] is false, and else 0."""
    return _bias(~mask, like)[:, None, None, :]


def hide_future(position: Tensor, places: Tensor, like: Tensor) -> Tensor:
    """Return a bias [.., C] that is −inf where a place [C] is after the `position` [.., 1], and else 0."""
    return _bias(places > position, like)


def _bias(hidden: Tensor, like: Tensor) -> Tensor:
    return torch.zeros(hidden.shape, dtype=like.dtype, device=like.device).masked_fill_(hidden, float("-inf"))
