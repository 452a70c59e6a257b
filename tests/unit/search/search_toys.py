"""Scorers small enough to enumerate, and plain Python that says what they and a beam should give."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from calque.search.options import SearchConfig

PAD, UNK, BOS, EOS = 0, 1, 2, 3
BUCKETS = 251
Score = Callable[[int, tuple[int, ...]], list[float]]


@dataclass(frozen=True)
class Context:
    table: Tensor


@dataclass(frozen=True)
class Place:
    number: Tensor


class Markov:
    """Log-probabilities [B, V, V] of the next token by sentence and last token; the source is their table."""

    def start(self, source: Tensor) -> tuple[Context, Place]:
        return Context(source), Place(torch.zeros(len(source)))

    def step(self, token: Tensor, state: Place, context: Context) -> tuple[Tensor, Place]:
        width = len(token) // len(context.table)
        assert len(state.number) == len(token) == width * len(context.table)
        sentence = torch.arange(len(token)) // width
        return context.table[sentence, token], Place(state.number + 1)

    @staticmethod
    def plain(source: Tensor) -> Score:
        return lambda row, history: source[row, history[-1] if history else BOS].tolist()


@dataclass(frozen=True)
class Memory:
    hash: Tensor
    history: Tensor


@dataclass
class Hashed:
    """Scores by sentence and the whole history: a hash kept in the state picks a row of `table`; spies on its calls."""

    table: Tensor
    calls: list[tuple[int, int]] = field(default_factory=list)
    seen: list[Tensor] = field(default_factory=list)

    def start(self, source: Tensor) -> tuple[Context, Memory]:
        return Context(source), Memory(source.clone(), source.new_zeros([len(source), 0]))

    def step(self, token: Tensor, state: Memory, context: Context) -> tuple[Tensor, Memory]:
        self.calls.append((len(token), len(context.table)))
        assert len(token) == len(state.hash)
        number = (state.hash * 31 + token) % BUCKETS
        self.seen.append(torch.cat([state.history, token[:, None]], 1))
        # The sentence counts again, by way of the context: rows that were mixed up would show.
        seed = context.table.repeat_interleave(len(token) // len(context.table))
        return self.table[(number + seed) % BUCKETS], Memory(number, self.seen[-1])

    def plain(self, source: Tensor) -> Score:
        def score(row: int, history: tuple[int, ...]) -> list[float]:
            number = int(source[row])
            for token in (BOS, *history):
                number = (number * 31 + token) % BUCKETS
            values: list[float] = self.table[(number + int(source[row])) % BUCKETS].tolist()
            return values

        return score


def markov(seed: int, rows: int, vocabulary: int, sharpness: float = 1.0) -> tuple[Markov, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn(rows, vocabulary, vocabulary, generator=generator) * sharpness
    return Markov(), table.log_softmax(-1)


def hashed(seed: int, rows: int, vocabulary: int, sharpness: float = 1.0) -> tuple[Hashed, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    table = (torch.randn(BUCKETS, vocabulary, generator=generator) * sharpness).log_softmax(-1)
    return Hashed(table), torch.randint(BUCKETS, (rows,), generator=generator)


def divide(total: float, length: int, options: SearchConfig) -> float:
    """Normalise a sum over `length` tokens, </s> counted, as the definitions say."""
    if options.normalisation == "none":
        return total
    base = length if options.normalisation == "average" else (5 + length) / 6
    return total / math.pow(base, options.length_penalty)


def log_prob(score: Score, row: int, tokens: Sequence[int]) -> float:
    """Return the sum that the scorer gives `tokens` and </s>, computed from scratch."""
    tokens = tuple(tokens)
    return sum(score(row, tokens[:place])[token] for place, token in enumerate((*tokens, EOS)))


def enumerate_all(
    score: Score, row: int, limit: int, vocabulary: int, options: SearchConfig
) -> list[tuple[float, tuple[int, ...]]]:
    """Return every output of at most `limit` tokens with its normalised score, best first."""
    usable = [token for token in range(vocabulary) if token not in (PAD, BOS, EOS)]
    outputs = [output for size in range(limit + 1) for output in itertools.product(usable, repeat=size)]
    scored = [(divide(log_prob(score, row, output), len(output) + 1, options), output) for output in outputs]
    return sorted(scored, reverse=True)


def plain_greedy(score: Score, row: int, limit: int) -> list[int]:
    output: list[int] = []
    while len(output) < limit:
        values = score(row, tuple(output))
        best = max((token for token in range(len(values)) if token not in (PAD, BOS)), key=values.__getitem__)
        if best == EOS:
            break
        output.append(best)
    return output


def plain_beam(score: Score, row: int, limit: int, options: SearchConfig) -> list[tuple[float, tuple[int, ...]]]:
    """Search one sentence with lists: the best K of 2K candidates may end, K others live, no bound but K endings."""
    living, ended = [(0.0, ())], []
    for time in range(limit + 1):
        tokens = [EOS] if time == limit else range(len(score(row, ())))
        candidates = [
            (total + score(row, history)[token], (*history, token))
            for total, history in living
            for token in tokens
            if token not in (PAD, BOS)
        ]
        candidates = sorted(candidates, reverse=True)[: 2 * options.beam]
        for total, history in candidates[: options.beam]:
            if history[-1] == EOS:
                ended.append((divide(total, len(history), options), history[:-1]))
        ended = sorted(ended, reverse=True)[: options.beam]
        living = [(total, history) for total, history in candidates if history[-1] != EOS][: options.beam]
        if not living:
            break
        if len(ended) == options.beam and divide(living[0][0], time + 2, options) <= ended[-1][0]:
            break
    return ended[: options.n_best]
