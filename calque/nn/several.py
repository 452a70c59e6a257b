"""Several sources, each with its own encoder, whose states form one memory.

Multi-source translation of Zoph & Knight 2016; the decoder attends to all sources at once, or to each (hierarchical).
"""

import functools
from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from calque.batch import Source
from calque.config import Config
from calque.errors import UsageError
from calque.nn.embedding import Embedding
from calque.nn.parts import Encoder, Memory, MemoryShape
from calque.nn.recurrent.encoder_decoder import RecurrentEncoderConfig
from calque.nn.transformer.encoder_decoder import TransformerEncoderConfig
from calque.nn.typed import ModuleList

OneEncoderConfig = Annotated[RecurrentEncoderConfig | TransformerEncoderConfig, Field(discriminator="kind")]


class SeveralEncoderConfig(Config):
    """Read each of several sources with its own encoder."""

    kind: Literal["several"] = "several"
    """Several sources: an encoder for each."""
    encoders: tuple[OneEncoderConfig, ...] = Field(min_length=2)
    """The encoder of each source, in the order of data.columns.source; all have the same width."""

    @property
    def width(self) -> int:
        """Return the width of embeddings and memory."""
        return self.encoders[0].width

    @property
    def layers(self) -> int:
        """Return the number of layers of the deepest encoder."""
        return max(encoder.layers for encoder in self.encoders)

    def build(self, embedding: Embedding) -> "SeveralEncoder":
        """Build the encoders, which share one embedding; UsageError if their widths differ."""
        widths = [encoder.width for encoder in self.encoders]
        if len(set(widths)) > 1:
            raise UsageError(
                "model.encoder.encoders: the encoders share the embeddings and the memory, so their widths must be"
                f" equal; they are {', '.join(map(str, widths))}"
            )
        return SeveralEncoder([encoder.build(embedding) for encoder in self.encoders], embedding)


class SeveralEncoder(Encoder):
    """Read the tokens of segment i with encoder i; each state has the position of its token."""

    def __init__(self, encoders: Sequence[Encoder], embedding: Embedding) -> None:
        super().__init__()
        self.embedding = embedding
        self.encoders = ModuleList(encoders)
        self.scale_embeddings = encoders[0].scale_embeddings
        shapes = [encoder.shape for encoder in encoders]
        summary_width = sum(shape.summary_width for shape in shapes)
        self.shape = MemoryShape(shapes[0].width, summary_width, 1, all(shape.has_cell for shape in shapes))

    def forward(self, source: Source) -> Memory:
        """Encode B sources; the summary concatenates the final states of the encoders' top layers."""
        assert source.segment is not None, "several encoders need `segment`, the number of each token's source"
        parts = [source.mask & (source.segment == number) for number in range(len(self.encoders))]
        memories = [
            encoder(_taken(source.tokens, inside)) for encoder, inside in zip(self.encoders, parts, strict=True)
        ]
        # With autocast, encoders of different kinds may return states of different types.
        dtype = functools.reduce(torch.promote_types, [memory.states.dtype for memory in memories])
        states = memories[0].states.new_zeros(*source.mask.shape, self.shape.width, dtype=dtype)
        for inside, memory in zip(parts, memories, strict=True):
            # Both masks list their positions in the same order: by sentence, then from left to right.
            states = states.masked_scatter(inside.unsqueeze(-1), memory.states[_filled(inside)].to(dtype))
        return Memory(states, source.mask, self._summary(memories), source.segment)

    def _summary(self, memories: Sequence[Memory]) -> tuple[Tensor, ...]:
        """Return hidden and, if all encoders have one, cell: each [B, 1, sum of the encoders' widths]."""
        parts = 2 if self.shape.has_cell else 1
        return tuple(torch.cat([memory.summary[part][:, -1:] for memory in memories], dim=-1) for part in range(parts))


def _taken(tokens: Tensor, inside: Tensor) -> Source:
    """Return the tokens where `inside` [B, S] is true as sentences, padded on the right."""
    mask = _filled(inside)
    return Source(torch.zeros_like(mask, dtype=tokens.dtype).masked_scatter(mask, tokens[inside]), mask)


def _filled(inside: Tensor) -> Tensor:
    """Return a mask [B, longest] that is true in each row for as many first places as `inside` [B, S] is true."""
    lengths = inside.sum(dim=1)
    return torch.arange(int(lengths.max()), device=inside.device) < lengths.unsqueeze(1)
