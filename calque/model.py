"""The model: an encoder, a decoder and a head, built from the recipe's section; a Scorer for search.

An objective of training calls `forward`, or `losses` where the likelihood is all it needs; search calls `start` and
`step`.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field
from torch import Tensor, nn

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
from calque.nn.parts import Decoder, Encoder, Head, Output
from calque.nn.recurrent.encoder_decoder import RecurrentDecoderConfig, RecurrentEncoderConfig
from calque.nn.several import SeveralEncoderConfig
from calque.nn.transformer.encoder_decoder import TransformerDecoderConfig, TransformerEncoderConfig
from calque.rows import select

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
    """The parts that make the model."""

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
    """What decoder and head need of each source."""

    decoder: Any
    head: Any


@dataclass(frozen=True)
class Predictions:
    """What a model predicts of the N real target positions of a batch, those of its first sentence first.

    `output` has N rows, `context` is the head's and has B; position n belongs to sentence `sentences[n]` and should
    give `labels[n]`. `mask` [B, T] is true at the real positions. `penalty` [N], such as a coverage loss, is what
    training adds to the loss of each position; it is None where there is none, and in evaluation.
    """

    head: Head
    output: Output
    context: Any
    sentences: Tensor
    labels: Tensor
    mask: Tensor
    penalty: Tensor | None

    def log_probs(self) -> Tensor:
        """Return log-probabilities [N, V + X] of all positions at once, which takes the memory that `losses` spares."""
        return self.head.log_probs(self.output, select(self.context, self.sentences))

    def losses(self, smoothing: float = 0.0) -> Tensor:
        """Return the smoothed negative log-likelihood [N] of the labels, by the fastest way that the head has."""
        return self.head.losses(self.output, self.context, self.sentences, self.labels, smoothing)

    def padded(self, losses: Tensor) -> Tensor:
        """Return losses [N], the penalty added, as [B, T] with 0 at padding."""
        if self.penalty is not None:
            losses = losses + self.penalty
        return losses.new_zeros(self.mask.shape).masked_scatter(self.mask, losses)


class Seq2Seq(nn.Module):
    """An encoder, a decoder and a head, joined."""

    def __init__(self, encoder: Encoder, decoder: Decoder, head: Head) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.head = head

    def forward(self, batch: Batch) -> Predictions:
        """Return what the model predicts of each target token when it is given those before it."""
        memory = self.encoder(batch.source)
        output: Output = self.decoder(self._embeddable(batch.target.inputs), memory)
        mask = batch.target.mask
        attention = output.attention[mask] if self.head.reads_attention and output.attention is not None else None
        return Predictions(
            self.head,
            Output(output.hidden[mask], attention),
            self.head.start(batch.source, memory),
            mask.nonzero()[:, 0],
            batch.target.labels[mask],
            mask,
            output.penalty[mask] if self.training and output.penalty is not None else None,
        )

    def losses(self, batch: Batch, smoothing: float = 0.0) -> Tensor:
        """Return the smoothed negative log-likelihood [B, T] of the target, 0 at padding."""
        predictions: Predictions = self(batch)
        return predictions.padded(predictions.losses(smoothing))

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
