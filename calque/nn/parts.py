"""What an encoder, a decoder and a head promise each other, so that any of them goes with any other.

Context is fixed per source sentence (B rows); state changes with each step (R = B·K rows under a beam of K).
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from calque.batch import Source
from calque.nn.embedding import Embedding
from calque.nn.heads.likelihood import smoothed_likelihood
from calque.rows import select

# Scores [positions, vocabulary] held at once in training; more are cut in chunks and recomputed in backward.
SCORES_AT_ONCE = 2**25


@dataclass(frozen=True)
class Memory:
    """What an encoder leaves of B sentences.

    `states` [B, S, D], `mask` [B, S]; `summary`: final states for a bridge, each [B, L, D'] (hidden and, from
    an LSTM, cell), L layers; `segment` [B, S] tells which of several sources a position belongs to.
    """

    states: Tensor
    mask: Tensor
    summary: tuple[Tensor, ...]
    segment: Tensor | None = None


def as_memory(states: Tensor, mask: Tensor) -> Memory:
    """Return states [B, S, D] as a memory whose summary is their mean where `mask` [B, S] is true."""
    total = (states * mask.unsqueeze(-1)).sum(dim=1, keepdim=True)
    return Memory(states, mask, (total / mask.sum(dim=1)[:, None, None],))


@dataclass(frozen=True)
class Output:
    """What a decoder says: `hidden` [.., D], `attention` [.., S] or None, `penalty` [..] or None."""

    hidden: Tensor
    attention: Tensor | None = None
    penalty: Tensor | None = None


@dataclass(frozen=True)
class MemoryShape:
    """Tell a decoder, before any tensor exists, what memory it will read: widths, and whether cells come along.

    `num_layers` counts the layers of the summary; `has_cell` is true for an LSTM's.
    """

    width: int
    summary_width: int
    num_layers: int
    has_cell: bool


class Encoder(nn.Module, ABC):
    """An encoder: from a source to a memory."""

    shape: MemoryShape

    @abstractmethod
    def forward(self, source: Source) -> Memory:
        """Encode B sentences."""


class Decoder(nn.Module, ABC):
    """A decoder: from target tokens and a memory to hidden vectors, all at once or step by step."""

    width: int
    embedding: Embedding
    has_attention: bool
    """Whether outputs say where the decoder looked, as copying needs."""

    @abstractmethod
    def start(self, memory: Memory) -> tuple[Any, Any]:
        """Return (context, state), B rows each."""

    @abstractmethod
    def step(self, token: Tensor, state: Any, context: Any) -> tuple[Output, Any]:
        """Read one token a row [R] and return (output with hidden [R, D], next state)."""

    @abstractmethod
    def forward(self, tokens: Tensor, memory: Memory) -> Output:
        """Read tokens [B, T] and return hidden [B, T, D]: equal to the scan of `step`."""


class Head(nn.Module, ABC):
    """A head: from the output of a decoder to log-probabilities."""

    vocab_size: int
    """Size of the vocabulary, V."""
    reads_attention: bool = False
    """Whether `log_probs` needs the output's attention."""

    @abstractmethod
    def start(self, source: Source, memory: Memory) -> Any:
        """Return the context, B rows or None."""

    @abstractmethod
    def log_probs(self, output: Output, context: Any) -> Tensor:
        """Return log-probabilities [R, V + X], normalised, of an output of R rows; X: copied forms outside V.

        The context has as many rows, or B where R = B·K.
        """

    def losses(self, output: Output, context: Any, sentences: Tensor, labels: Tensor, smoothing: float) -> Tensor:
        """Return the smoothed negative log-likelihood [N] of labels [N]; `smoothing` 0 gives the plain one.

        Position n of the output belongs to row `sentences[n]` of the context. The scores of all positions never exist
        at once: they are computed in chunks of positions, and again in backward. A head that has a faster way
        overrides this method.
        """

        def chunk_losses(output: Output, labels: Tensor, sentences: Tensor) -> Tensor:
            log_probs = self.log_probs(output, select(context, sentences))
            return smoothed_likelihood(log_probs, labels, smoothing, self.vocab_size)

        chunk = max(1, SCORES_AT_ONCE // self.vocab_size)
        if len(labels) <= chunk:
            return chunk_losses(output, labels, sentences)
        places = torch.arange(len(labels), device=labels.device).split(chunk)
        return torch.cat(
            [
                checkpoint(
                    chunk_losses,
                    select(output, place),
                    labels[place],
                    sentences[place],
                    use_reentrant=False,
                    preserve_rng_state=False,
                )
                for place in places
            ]
        )


def stack_outputs(outputs: Sequence[Output]) -> Output:
    """Return the outputs of T steps, R rows each, as one of [R, T, ..]."""

    def stacked(parts: list[Tensor | None]) -> Tensor | None:
        given = [part for part in parts if part is not None]
        return torch.stack(given, dim=1) if given else None

    return Output(
        torch.stack([output.hidden for output in outputs], dim=1),
        stacked([output.attention for output in outputs]),
        stacked([output.penalty for output in outputs]),
    )


def fold(rows: Tensor, num_sentences: int) -> Tensor:
    """Fold the beam into the query axis: [B·K, ..] -> [B, K, ..], so that a sentence's keys serve its K rows."""
    return rows.reshape(num_sentences, -1, *rows.shape[1:])
