"""The model: an encoder, a decoder and a head, built from the recipe's section; a Scorer for search.

Training calls `forward` and nothing else; search calls `start` and `step`.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from calque.batch import Batch, Source
from calque.config import Config
from calque.errors import UsageError
from calque.nn.embedding import Embedding
from calque.nn.heads import SoftmaxHead, SoftmaxHeadConfig
from calque.nn.objectives import Objective
from calque.nn.parts import Decoder, Encoder, Head, MemoryShape, Output
from calque.nn.recurrent import RecurrentDecoder, RecurrentDecoderConfig, RecurrentEncoder, RecurrentEncoderConfig
from calque.nn.transformer import (
    TransformerDecoder,
    TransformerDecoderConfig,
    TransformerEncoder,
    TransformerEncoderConfig,
)

# Scores [positions, vocabulary] held at once in training; more are cut in chunks and recomputed in backward.
SCORES_AT_ONCE = 2**25

EncoderConfig = Annotated[RecurrentEncoderConfig | TransformerEncoderConfig, Field(discriminator="kind")]
DecoderConfig = Annotated[RecurrentDecoderConfig | TransformerDecoderConfig, Field(discriminator="kind")]


class ModelConfig(Config):
    """Say which parts make the model."""

    encoder: EncoderConfig = TransformerEncoderConfig()
    """What reads the source."""
    decoder: DecoderConfig = TransformerDecoderConfig()
    """What writes the target."""
    head: SoftmaxHeadConfig = SoftmaxHeadConfig()
    """What scores the next token."""
    tie_embeddings: Literal["none", "target", "all"] = "target"
    """Share one table: none; target = target embeddings and head; all = source embeddings too (joint vocabulary)."""


@dataclass(frozen=True)
class Context:
    """Hold what decoder and head need of each source."""

    decoder: Any
    head: Any


class Seq2Seq(nn.Module):
    """Join an encoder, a decoder and a head."""

    def __init__(self, encoder: Encoder, decoder: Decoder, head: Head) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.head = head

    def forward(self, batch: Batch, objective: Objective) -> Tensor:
        """Return the loss [B, T] of each target token, 0 at padding."""
        memory = self.encoder(batch.source)
        output = self.decoder(batch.target.inputs, memory)
        context = self.head.start(batch.source, memory)
        mask = batch.target.mask
        hidden, labels = output.hidden[mask], batch.target.labels[mask]
        losses = self._losses(hidden, labels, context, objective)
        return losses.new_zeros(mask.shape).masked_scatter(mask, losses)

    def start(self, source: Source) -> tuple[Context, Any]:
        """Encode B sentences: what is fixed for each, and the decoder's first state."""
        memory = self.encoder(source)
        context, state = self.decoder.start(memory)
        return Context(context, self.head.start(source, memory)), state

    def step(self, token: Tensor, state: Any, context: Context) -> tuple[Tensor, Any]:
        """Read one token a row [R]; return log-probabilities [R, V] and the next state."""
        output, state = self.decoder.step(token, state, context.decoder)
        return self.head.log_probs(output, context.head), state

    def attention(self, batch: Batch) -> Tensor | None:
        """Return where the decoder looked [B, T, S] when it is given the target, or None without attention."""
        output: Output = self.decoder(batch.target.inputs, self.encoder(batch.source))
        return output.attention

    def _losses(self, hidden: Tensor, labels: Tensor, context: Any, objective: Objective) -> Tensor:
        def chunk_losses(hidden: Tensor, labels: Tensor) -> Tensor:
            return objective(self.head.log_probs(Output(hidden), context), labels)

        chunk = max(1, SCORES_AT_ONCE // self.decoder.embedding.vocab_size)
        if hidden.shape[0] <= chunk:
            return chunk_losses(hidden, labels)
        pieces = zip(hidden.split(chunk), labels.split(chunk), strict=True)
        return torch.cat(
            [checkpoint(chunk_losses, *piece, use_reentrant=False, preserve_rng_state=False) for piece in pieces]
        )


def build(config: ModelConfig, source_vocab_size: int, target_vocab_size: int) -> Seq2Seq:
    """Build the model with fresh weights from torch's generator."""
    target_embedding = Embedding(target_vocab_size, config.decoder.width)
    if config.tie_embeddings == "all":
        if source_vocab_size != target_vocab_size or config.encoder.width != config.decoder.width:
            raise UsageError(
                "model.tie_embeddings: all needs a joint vocabulary (text.joint = true) and encoder and decoder of one"
                f" width; here {source_vocab_size} and {target_vocab_size} tokens,"
                f" widths {config.encoder.width} and {config.decoder.width}"
            )
        source_embedding = target_embedding
    else:
        source_embedding = Embedding(source_vocab_size, config.encoder.width)
    encoder = build_encoder(config.encoder, source_embedding)
    decoder = build_decoder(config.decoder, target_embedding, encoder.shape)
    tied = None if config.tie_embeddings == "none" else target_embedding
    return Seq2Seq(encoder, decoder, SoftmaxHead(decoder.width, target_vocab_size, tied))


def build_encoder(config: RecurrentEncoderConfig | TransformerEncoderConfig, embedding: Embedding) -> Encoder:
    """Build the encoder that `config` describes."""
    match config:
        case RecurrentEncoderConfig():
            return RecurrentEncoder(config, embedding)
        case TransformerEncoderConfig():
            return TransformerEncoder(config, embedding)


def build_decoder(
    config: RecurrentDecoderConfig | TransformerDecoderConfig, embedding: Embedding, shape: MemoryShape
) -> Decoder:
    """Build the decoder that `config` describes, for memories of `shape`."""
    match config:
        case RecurrentDecoderConfig():
            return RecurrentDecoder(config, embedding, shape)
        case TransformerDecoderConfig():
            return TransformerDecoder(config, embedding, shape)
