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
from calque.ids import UNK
from calque.nn.embedding import Embedding
from calque.nn.graph.attention import GraphAttentionEncoderConfig
from calque.nn.graph.gated import GatedGraphEncoderConfig
from calque.nn.graph.transformer import GraphTransformerEncoderConfig
from calque.nn.heads.pointer import PointerHeadConfig
from calque.nn.heads.softmax import SoftmaxHeadConfig
from calque.nn.objectives import Objective
from calque.nn.parts import Decoder, Encoder, Head, Output
from calque.nn.recurrent.encoder_decoder import RecurrentDecoderConfig, RecurrentEncoderConfig
from calque.nn.several import SeveralEncoderConfig
from calque.nn.transformer.encoder_decoder import TransformerDecoderConfig, TransformerEncoderConfig
from calque.rows import select

# Scores [positions, vocabulary] held at once in training; more are cut in chunks and recomputed in backward.
SCORES_AT_ONCE = 2**25

EncoderConfig = Annotated[
    RecurrentEncoderConfig
    | TransformerEncoderConfig
    | SeveralEncoderConfig
    | GatedGraphEncoderConfig
    | GraphAttentionEncoderConfig
    | GraphTransformerEncoderConfig,
    Field(discriminator="kind"),
]
DecoderConfig = Annotated[RecurrentDecoderConfig | TransformerDecoderConfig, Field(discriminator="kind")]
HeadConfig = Annotated[SoftmaxHeadConfig | PointerHeadConfig, Field(discriminator="kind")]


class ModelConfig(Config):
    """Say which parts make the model."""

    encoder: EncoderConfig = TransformerEncoderConfig()
    """What reads the source."""
    decoder: DecoderConfig = TransformerDecoderConfig()
    """What writes the target."""
    head: HeadConfig = SoftmaxHeadConfig()
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
        """Return the loss [B, T] of each target token, 0 at padding; the decoder's penalty counts in training."""
        memory = self.encoder(batch.source)
        output: Output = self.decoder(self._embeddable(batch.target.inputs), memory)
        mask = batch.target.mask
        attention = output.attention[mask] if self.head.reads_attention and output.attention is not None else None
        context = self.head.start(batch.source, memory)
        labels, sentences = batch.target.labels[mask], mask.nonzero()[:, 0]
        losses = self._losses(Output(output.hidden[mask], attention), labels, sentences, context, objective)
        if self.training and output.penalty is not None:
            losses = losses + output.penalty[mask]
        return losses.new_zeros(mask.shape).masked_scatter(mask, losses)

    def start(self, source: Source) -> tuple[Context, Any]:
        """Encode B sentences: what is fixed for each, and the decoder's first state."""
        memory = self.encoder(source)
        context, state = self.decoder.start(memory)
        return Context(context, self.head.start(source, memory)), state

    def step(self, token: Tensor, state: Any, context: Context) -> tuple[Tensor, Any]:
        """Read one token a row [R]; return log-probabilities [R, V] and the next state."""
        output, state = self.decoder.step(self._embeddable(token), state, context.decoder)
        return self.head.log_probs(output, context.head), state

    def attention(self, batch: Batch) -> Tensor | None:
        """Return where the decoder looked [B, T, S] when it is given the target, or None without attention."""
        output: Output = self.decoder(self._embeddable(batch.target.inputs), self.encoder(batch.source))
        return output.attention

    def _embeddable(self, tokens: Tensor) -> Tensor:
        """Return tokens [..] with <unk> for copied forms, which have no embedding."""
        vocab_size = self.decoder.embedding.vocab_size
        return tokens.masked_fill(tokens >= vocab_size, UNK) if self.head.reads_attention else tokens

    def _losses(self, output: Output, labels: Tensor, sentences: Tensor, context: Any, objective: Objective) -> Tensor:
        """Return the losses [N] of N positions, `sentences` [N] saying whose each is."""
        direct = self.head.losses(output, labels, objective)
        if direct is not None:
            return direct
        vocab_size = self.decoder.embedding.vocab_size

        def chunk_losses(output: Output, labels: Tensor, sentences: Tensor) -> Tensor:
            log_probs = self.head.log_probs(output, select(context, sentences))
            return objective(log_probs, labels, vocab_size)

        chunk = max(1, SCORES_AT_ONCE // vocab_size)
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
    encoder = config.encoder.build(source_embedding)
    decoder = config.decoder.build(target_embedding, encoder.shape)
    return Seq2Seq(
        encoder, decoder, config.head.build(decoder, None if config.tie_embeddings == "none" else target_embedding)
    )
