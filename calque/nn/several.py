"""Several sources, an encoder each: every part is read as a sentence of its own, their states make one memory.

Multi-source translation of Zoph & Knight 2016; the decoder attends over the whole, or part by part (hierarchical).
"""

import functools
from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from calque.batch import Source
from calque.config import Config
from calque.errors import UsageError
from calque.nn.embedding import Embedding
from calque.nn.parts import Encoder, Memory, MemoryShape
from calque.nn.recurrent.encoder_decoder import RecurrentEncoderConfig
from calque.nn.transformer.encoder_decoder import TransformerEncoderConfig

OneEncoderConfig = Annotated[RecurrentEncoderConfig | TransformerEncoderConfig, Field(discriminator="kind")]


class SeveralEncoderConfig(Config):
    """Read each of several sources with an encoder of its own."""

    kind: Literal["several"] = "several"
    """An encoder for each source."""
    encoders: tuple[OneEncoderConfig, ...] = Field(min_length=2)
    """The encoder of each source, in the order of data.columns.source; all of one width."""

    @property
    def width(self) -> int:
        """Return the width of embeddings and memory."""
        return self.encoders[0].width

    @property
    def layers(self) -> int:
        """Return the number of layers of the deepest encoder."""
        return max(encoder.layers for encoder in self.encoders)

    def build(self, embedding: Embedding) -> "SeveralEncoder":
        """Build the encoders over one embedding; UsageError where their widths differ."""
        widths = [encoder.width for encoder in self.encoders]
        if len(set(widths)) > 1:
            raise UsageError(
                f"model.encoder.encoders: they share the embeddings and make one memory, so all need one width; they"
                f" have {', '.join(map(str, widths))}"
            )
        return SeveralEncoder([encoder.build(embedding) for encoder in self.encoders], embedding)


class SeveralEncoder(Encoder):
    """Read the tokens of segment i with encoder i; the states come back to the places of their tokens."""

    def __init__(self, encoders: Sequence[Encoder], embedding: Embedding) -> None:
        super().__init__()
        self.embedding = embedding
        self.encoders = nn.ModuleList(encoders)
        self.scale_embeddings = bool(getattr(encoders[0], "scale_embeddings", True))
        shapes = [encoder.shape for encoder in encoders]
        summary_width = sum(shape.summary_width for shape in shapes)
        self.shape = MemoryShape(shapes[0].width, summary_width, 1, all(shape.has_cell for shape in shapes))

    def forward(self, source: Source) -> Memory:
        """Encode B sources; the summary is what the encoders leave in their top layers, side by side."""
        assert source.segment is not None, "several encoders need to know which source a token belongs to"
        parts = [source.mask & (source.segment == number) for number in range(len(self.encoders))]
        memories = [
            encoder(_taken(source.tokens, inside)) for encoder, inside in zip(self.encoders, parts, strict=True)
        ]
        # In mixed arithmetic one kind of encoder may end in another type than the next.
        dtype = functools.reduce(torch.promote_types, [memory.states.dtype for memory in memories])
        states = memories[0].states.new_zeros(*source.mask.shape, self.shape.width, dtype=dtype)
        for inside, memory in zip(parts, memories, strict=True):
            # Both masks list their positions sentence by sentence, from left to right.
            states = states.masked_scatter(inside.unsqueeze(-1), memory.states[_filled(inside)].to(dtype))
        return Memory(states, source.mask, self._summary(memories), source.segment)

    def _summary(self, memories: Sequence[Memory]) -> tuple[Tensor, ...]:
        """Return hidden and, where all encoders have one, cell: [B, 1, sum of the encoders' widths] each."""
        parts = 2 if self.shape.has_cell else 1
        return tuple(torch.cat([memory.summary[part][:, -1:] for memory in memories], dim=-1) for part in range(parts))


def _taken(tokens: Tensor, inside: Tensor) -> Source:
    """Return the tokens that are `inside` [B, S] as sentences of their own, padded on the right."""
    mask = _filled(inside)
    return Source(torch.zeros_like(mask, dtype=tokens.dtype).masked_scatter(mask, tokens[inside]), mask)


def _filled(inside: Tensor) -> Tensor:
    """Return the mask [B, longest] of as many places, from the left, as are `inside` [B, S]."""
    lengths = inside.sum(dim=1)
    return torch.arange(int(lengths.max()), device=inside.device) < lengths.unsqueeze(1)
