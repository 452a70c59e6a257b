"""Multi-head attention (Vaswani et al. 2017), its cache for decoding step by step, and what hides positions."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from calque.nn.dropout import Dropout

FIRST_CAPACITY = 32


@dataclass(frozen=True)
class Cache:
    """Hold keys and values [R, H, C, D/H] of one layer, the first `length` of C places filled."""

    keys: Tensor
    values: Tensor
    length: int

    def select_rows(self, index: Tensor) -> "Cache":
        """Take rows, moving only the filled places."""
        return replace(self, keys=self._take(self.keys, index), values=self._take(self.values, index))

    def _take(self, old: Tensor, index: Tensor) -> Tensor:
        new = old.new_empty(index.shape[0], *old.shape[1:])
        new[:, :, : self.length] = old[:, :, : self.length].index_select(0, index)
        return new

    def write(self, key: Tensor, value: Tensor, position: Tensor) -> "Cache":
        """Put one key and value [R, H, 1, D/H] a row at its `position` [R], in place while there is room."""
        keys, values = self.keys, self.values
        if self.length == keys.shape[2]:
            keys, values = (nn.functional.pad(old, (0, 0, 0, self.length)) for old in (keys, values))
        rows = torch.arange(position.shape[0], device=position.device)
        keys[rows, :, position] = key.squeeze(2)
        values[rows, :, position] = value.squeeze(2)
        return Cache(keys, values, self.length + 1)

    def filled(self) -> tuple[Tensor, Tensor]:
        """Return the filled places of keys and values."""
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]


class MultiHeadAttention(nn.Module):
    """Attend with H heads; `key_value` reads another width where the memory has one."""

    def __init__(self, width: int, heads: int, memory_width: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(memory_width, 2 * width)
        self.output = nn.Linear(width, width)
        self.dropout = Dropout(dropout)
        glorot(self.query)
        glorot(self.key_value, num_blocks=2)
        glorot(self.output)

    def project_query(self, values: Tensor) -> Tensor:
        """[B, T, D] -> [B, H, T, D/H], scaled."""
        query = self.query(values).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return query * query.shape[-1] ** -0.5  # type: ignore[no-any-return]

    def project_memory(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """[B, S, D] -> keys and values, each [B, H, S, D/H]."""
        # [B, S, 2 D] -> [B, S, 2, H, D/H] -> [2, B, H, S, D/H]
        both = self.key_value(memory).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return both[0], both[1]

    def forward(self, query: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return (mixed [B, T, D], weights [B, H, T, S]); `bias` (0 or −inf) broadcasts to the scores."""
        # Plain products: on a CPU fused attention loses on the short rows that sentences are.
        scores = query @ keys.transpose(-1, -2)
        weights = (scores if bias is None else scores + bias).softmax(dim=-1)
        mixed = self.dropout(weights) @ values
        return self.output(mixed.transpose(1, 2).flatten(2)), weights


def empty_cache(like: Tensor, heads: int, width: int) -> Cache:
    """Lay out a cache for the rows of `like` [R, ..], nothing filled."""
    room = (like.shape[0], heads, FIRST_CAPACITY, width // heads)
    return Cache(like.new_zeros(room), like.new_zeros(room), 0)


def hide_padding(mask: Tensor, like: Tensor) -> Tensor:
    """Return a bias [B, 1, 1, S]: −inf where `mask` [B, S] is false, else 0."""
    return _bias(~mask, like)[:, None, None, :]


def hide_future(position: Tensor, places: Tensor, like: Tensor) -> Tensor:
    """Return a bias [.., C]: −inf where a place [C] lies after the `position` [.., 1] that looks, else 0."""
    return _bias(places > position, like)


def glorot(linear: nn.Linear, num_blocks: int = 1) -> None:
    """Draw the weights by Glorot & Bengio 2010, each of the stacked blocks on its own; zero the bias."""
    for block in linear.weight.data.chunk(num_blocks):
        nn.init.xavier_uniform_(block)
    nn.init.zeros_(linear.bias)


def _bias(hidden: Tensor, like: Tensor) -> Tensor:
    return torch.zeros(hidden.shape, dtype=like.dtype, device=like.device).masked_fill_(hidden, float("-inf"))
