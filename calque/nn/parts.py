"""The interfaces of encoder, decoder and head, by which any of them can be combined with any other.

A context is fixed per source sentence (B rows); a state changes with each step (R = B·K rows with a beam of K).
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from calque.batch import Source
from calque.nn.embedding import Embedding
from calque.nn.heads.likelihood import smoothed_likelihood
from calque.rows import Record, select

# Most scores [positions, vocabulary] in memory in training; more are computed in chunks, and again in backward.
SCORES_AT_ONCE = 2**25


@dataclass(frozen=True)
class Memory:
    """The encoded form of B sentences.

    `states` [B, S, D] and `mask` [B, S] by position; `summary`: final states of L layers for a bridge, each [B, L, D']
    (hidden and, from an LSTM, cell); `segment` [B, S]: with several sources, the number of each position's source.
    """

    states: Tensor
    mask: Tensor
    summary: tuple[Tensor, ...]
    segment: Tensor | None = None


def as_memory(states: Tensor, mask: Tensor) -> Memory:
    """Return states [B, S, D] as a memory whose summary is their mean over the positions of `mask` [B, S]."""
    return Memory(states, mask, (mean_state(states, mask).unsqueeze(1),))


def mean_state(states: Tensor, mask: Tensor) -> Tensor:
    """Return the mean [B, D] of states [B, S, D] over the positions where `mask` [B, S] is true."""
    return (states * mask.unsqueeze(-1)).sum(dim=1) / mask.sum(dim=1, keepdim=True)


@dataclass(frozen=True)
class Output:
    """The output of a decoder: `hidden` [.., D], `attention` [.., S] or None, `penalty` [..] or None."""

    hidden: Tensor
    attention: Tensor | None = None
    penalty: Tensor | None = None


@dataclass(frozen=True)
class MemoryShape:
    """The shape of the memories of an encoder, for which a decoder is built.

    `width`: of the states; `summary_width` and `num_layers`: of the summary; `has_cell`: whether the summary contains
    the cells of an LSTM.
    """

    width: int
    summary_width: int
    num_layers: int
    has_cell: bool


class Encoder(nn.Module, ABC):
    """Base of encoders, which map a source to a memory."""

    shape: MemoryShape
    embedding: Embedding
    scale_embeddings: bool = True
    """Whether the encoder multiplies embeddings by √width."""

    @abstractmethod
    def forward(self, source: Source) -> Memory:
        """Encode B sentences."""

    if TYPE_CHECKING:
        __call__ = forward


class Decoder(nn.Module, ABC):
    """Base of decoders, which map target tokens and a memory to hidden vectors, all at once or step by step."""

    width: int
    embedding: Embedding
    scale_embeddings: bool = True
    """Whether the decoder multiplies embeddings by √width."""
    has_attention: bool
    """Whether outputs have an `attention`, which copying needs."""

    @abstractmethod
    def start(self, memory: Memory) -> tuple[Record, Record]:
        """Return context and state, of B rows each."""

    @abstractmethod
    def step(self, token: Tensor, state: Record, context: Record) -> tuple[Output, Record]:
        """Read one token per row [R]; return the output, whose hidden is [R, D], and the next state."""

    @abstractmethod
    def forward(self, tokens: Tensor, memory: Memory) -> Output:
        """Read tokens [B, T] and return hidden [B, T, D], equal to those of `step` called for each position."""

    if TYPE_CHECKING:
        __call__ = forward


class Head(nn.Module, ABC):
    """Base of heads, which map the output of a decoder to log-probabilities."""

    vocab_size: int
    """V, the size of the vocabulary."""
    reads_attention: bool = False
    """Whether `log_probs` needs the output's attention."""

    @abstractmethod
    def start(self, source: Source, memory: Memory) -> Record:
        """Return the context: None, or a record of B rows."""

    @abstractmethod
    def log_probs(self, output: Output, context: Record) -> Tensor:
        """Return normalised log-probabilities [R, V + X] of an output of R rows; X: copied forms outside V.

        The context has R rows, or B rows if R = B·K.
        """

    def losses(self, output: Output, context: Record, sentences: Tensor, labels: Tensor, smoothing: float) -> Tensor:
        """Return the negative log-likelihood [N] of labels [N], smoothed unless `smoothing` is 0.

        Position n of the output belongs to row `sentences[n]` of the context. To save memory, scores are computed for
        some positions at a time, and again in backward. A head with a faster method overrides this one.
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
    """Return the outputs of T steps, of R rows each, as one output of [R, T, ..]."""

    def stacked(parts: list[Tensor | None]) -> Tensor | None:
        given = [part for part in parts if part is not None]
        return torch.stack(given, dim=1) if given else None

    return Output(
        torch.stack([output.hidden for output in outputs], dim=1),
        stacked([output.attention for output in outputs]),
        stacked([output.penalty for output in outputs]),
    )


def fold(rows: Tensor, num_sentences: int) -> Tensor:
    """Move the beam to the query axis, [B·K, ..] -> [B, K, ..], so that the K rows of a sentence share its keys."""
    return rows.reshape(num_sentences, -1, *rows.shape[1:])
