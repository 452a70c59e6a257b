"""The context and the state of the fused steps: keys and values that stay where they were written.

Each of the K hypotheses of a sentence attends to the places of all K; a bias hides those that are not its ancestors.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from calque.nn.attention.multihead import FIRST_CAPACITY
from calque.rows import join, select

HIDDEN = float("-inf")


@dataclass(frozen=True)
class Places:
    """Keys and values [B, G, C, K, d] of each layer, `length` of C places filled by each of K hypotheses.

    `hidden` [B, K, C, K] is −inf for a place that is hidden from a hypothesis, 0 for its own places; None for K = 1.
    `born` [B] is the place at which each sentence began; None if all began at place 0.
    """

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    hidden: Tensor | None
    length: int
    born: Tensor | None = None

    @property
    def width(self) -> int:
        """Return K."""
        return self.keys[0].shape[3]

    def select_rows(self, index: Tensor) -> "Places":
        """Take rows [B'·K'] by number: those of a sentence are adjacent, equally many for each."""
        sentences, parents = index // self.width, index % self.width
        num_sentences = int(sentences.diff().count_nonzero()) + 1
        parents = parents.view(num_sentences, -1)
        places = self._spread(parents.shape[1])
        if num_sentences != places.keys[0].shape[0]:
            places = places._keep(sentences.view(parents.shape)[:, 0])
        if places.hidden is None:
            return places
        grown = places.hidden.gather(1, parents[:, :, None, None].expand(-1, -1, *places.hidden.shape[2:]))
        return replace(places, hidden=grown)

    def with_room(self) -> "Places":
        """Make room for one more token; of the new places a hypothesis sees only its own."""
        places = self
        if self.length == self.keys[0].shape[2]:
            places = self._mapped(lambda old: nn.functional.pad(old, (0, 0, 0, 0, 0, self.length)))
            if self.hidden is not None:
                places = replace(places, hidden=nn.functional.pad(self.hidden, (0, 0, 0, self.length)))
        if places.hidden is not None:
            width = self.width
            places.hidden[:, :, self.length] = torch.full([width, width], HIDDEN).fill_diagonal_(0.0)
        return places

    def _mapped(self, change: Callable[[Tensor], Tensor]) -> "Places":
        return replace(self, keys=tuple(map(change, self.keys)), values=tuple(map(change, self.values)))

    def _keep(self, sentences: Tensor) -> "Places":
        hidden, born = select((self.hidden, self.born), sentences)
        return replace(self._mapped(lambda old: old.index_select(0, sentences)), hidden=hidden, born=born)

    def join_rows(self, others: Sequence["Places"]) -> "Places":
        """Return the sentences of all, aligned at their last places; places before the first birth are dropped."""
        states = (self, *others)
        longest = max(state.length for state in states)
        births = [state.births() + longest - state.length for state in states]
        start = int(torch.cat(births).min())
        length, capacity = longest - start, longest - start + FIRST_CAPACITY

        def aligned(parts: Sequence[Tensor], fill: float) -> Tensor:
            """Return parts [B, _, C, ..] with their filled places side by side, at the end of `length` places."""
            total = sum(len(part) for part in parts)
            made = parts[0].new_full([total, parts[0].shape[1], capacity, *parts[0].shape[3:]], fill)
            first = 0
            for part, state in zip(parts, states, strict=True):
                filled = min(state.length, length)
                rows = slice(first, first + len(part))
                made[rows, :, length - filled : length] = part[:, :, state.length - filled : state.length]
                first += len(part)
            return made

        layers = range(len(self.keys))
        keys = tuple(aligned([state.keys[number] for state in states], 0.0) for number in layers)
        values = tuple(aligned([state.values[number] for state in states], 0.0) for number in layers)
        hidden = aligned([state._visible() for state in states], HIDDEN)
        return Places(keys, values, hidden, length, torch.cat(births) - start)

    def births(self) -> Tensor:
        """Return the place at which each sentence began [B]."""
        return torch.zeros(len(self.keys[0]), dtype=torch.int64) if self.born is None else self.born

    def positions(self) -> Tensor:
        """Return the position of the next token: [1] for all hypotheses, or [B, K]."""
        if self.born is None:
            return torch.full([1], self.length)
        return (self.length - self.born).unsqueeze(1).expand(-1, self.width)

    def _visible(self) -> Tensor:
        """Return `hidden`, or zeros for a single hypothesis, which sees all its places."""
        keys = self.keys[0]
        return keys.new_zeros(len(keys), 1, keys.shape[2], 1) if self.hidden is None else self.hidden

    def _spread(self, width: int) -> "Places":
        """Give each sentence `width` hypotheses instead of one, all of which see the places of that one."""
        if width == self.width:
            return self
        assert self.width == 1, "only the first step branches"
        num_sentences, _, capacity = self.keys[0].shape[:3]
        hidden = torch.full([num_sentences, width, capacity, width], HIDDEN)
        hidden[..., 0] = 0.0
        return replace(self._mapped(lambda old: nn.functional.pad(old, (0, 0, 0, width - 1))), hidden=hidden)


@dataclass(frozen=True)
class FusedMemory:
    """Each layer's keys and values of the memory [B, G, S, d], and the bias that hides its padding [B, 1, 1, S]."""

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    bias: Tensor

    def join_rows(self, others: Sequence["FusedMemory"]) -> "FusedMemory":
        """Return the sentences of all; the padding of the shorter ones is hidden."""
        memories = (self, *others)
        longest = max(memory.bias.shape[3] for memory in memories)
        bias = [nn.functional.pad(each.bias, (0, longest - each.bias.shape[3]), value=HIDDEN) for each in memories]
        keys, values = (join([getattr(each, name) for each in memories]) for name in ("keys", "values"))
        return FusedMemory(keys, values, torch.cat(bias))
