"""The model: an encoder, a decoder and a head, built from a section of the recipe. It is a Scorer for search.

An objective calls `forward`, or `losses` if it needs only the likelihood; search calls `start` and `step`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

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
from calque.nn.memory_network import MemoryEncoderConfig
from calque.nn.parts import Decoder, Encoder, Head, Output
from calque.nn.recurrent.encoder_decoder import RecurrentDecoderConfig, RecurrentEncoderConfig
from calque.nn.several import SeveralEncoderConfig
from calque.nn.transformer.encoder_decoder import TransformerDecoderConfig, TransformerEncoderConfig
from calque.rows import Record, select

EncoderConfig = Annotated[
    RecurrentEncoderConfig
    | TransformerEncoderConfig
    | SeveralEncoderConfig
    | MemoryEncoderConfig
    | GatedGraphEncoderConfig
    | GraphAttentionEncoderConfig
    | GraphTransformerEncoderConfig,
    Field(discriminator="kind"),
]
DecoderConfig = Annotated[RecurrentDecoderConfig | TransformerDecoderConfig, Field(discriminator="kind")]
HeadConfig = Annotated[SoftmaxHeadConfig | PointerHeadConfig, Field(discriminator="kind")]


class ModelConfig(Config):
    """The parts of the model."""

    encoder: EncoderConfig = TransformerEncoderConfig()
    """The part that reads the source."""
    decoder: DecoderConfig = TransformerDecoderConfig()
    """The part that writes the target."""
    head: HeadConfig = SoftmaxHeadConfig()
    """The part that scores the next token."""
    tie_embeddings: Literal["none", "target", "all"] = "target"
    """Weights that share one table: none, target (target embeddings, head) or all (needs a joint vocabulary)."""


@dataclass(frozen=True)
class Context:
    """The contexts of decoder and head."""

    decoder: Record
    head: Record


@dataclass(frozen=True)
class Predictions:
    """The predictions of a model for the N target positions of a batch, sentence by sentence, without padding.

    `output` has N rows, and the head's `context` has B. Position n belongs to sentence `sentences[n]`, and its label is
    `labels[n]`. `mask` [B, T] is false at padding. `penalty` [N], such as a coverage loss, is added to the loss of each
    position in training; it is None without such a loss and in evaluation.
    """

    head: Head
    output: Output
    context: Record
    sentences: Tensor
    labels: Tensor
    mask: Tensor
    penalty: Tensor | None

    def log_probs(self) -> Tensor:
        """Return log-probabilities [N, V + X] of all positions at once; `losses` needs less memory."""
        return self.head.log_probs(self.output, select(self.context, self.sentences))

    def losses(self, smoothing: float = 0.0) -> Tensor:
        """Return the smoothed negative log-likelihood [N] of the labels, by the head's fastest method."""
        return self.head.losses(self.output, self.context, self.sentences, self.labels, smoothing)

    def padded(self, losses: Tensor) -> Tensor:
        """Return losses [N] plus the penalty as [B, T], with 0 at padding."""
        if self.penalty is not None:
            losses = losses + self.penalty
        return losses.new_zeros(self.mask.shape).masked_scatter(self.mask, losses)


class Seq2Seq(nn.Module):
    """A model of an encoder, a decoder and a head."""

    def __init__(self, encoder: Encoder, decoder: Decoder, head: Head) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.head = head

    def forward(self, batch: Batch) -> Predictions:
        """Return the predictions of each target token from the tokens before it."""
        memory = self.encoder(batch.source)
        output = self.decoder(self._embeddable(batch.target.inputs), memory)
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

    if TYPE_CHECKING:
        __call__ = forward

    def losses(self, batch: Batch, smoothing: float = 0.0) -> Tensor:
        """Return the smoothed negative log-likelihood [B, T] of the target, 0 at padding."""
        predictions = self(batch)
        return predictions.padded(predictions.losses(smoothing))

    def start(self, source: Source) -> tuple[Context, Record]:
        """Encode B sentences; return their context and the decoder's first state."""
        memory = self.encoder(source)
        context, state = self.decoder.start(memory)
        return Context(context, self.head.start(source, memory)), state

    def step(self, token: Tensor, state: Record, context: Context) -> tuple[Tensor, Record]:
        """Read one token per row [R]; return log-probabilities [R, V + X] and the next state."""
        output, state = self.decoder.step(self._embeddable(token), state, context.decoder)
        return self.head.log_probs(output, context.head), state

    def attention(self, batch: Batch) -> Tensor | None:
        """Return the attention [B, T, S] of the decoder on a given target, or None without attention."""
        output = self.decoder(self._embeddable(batch.target.inputs), self.encoder(batch.source))
        return output.attention

    def _embeddable(self, tokens: Tensor) -> Tensor:
        """Return tokens [..] with <unk> in place of copied forms, which have no embedding."""
        vocab_size = self.decoder.embedding.vocab_size
        return tokens.masked_fill(tokens >= vocab_size, UNK) if self.head.reads_attention else tokens


def build(config: ModelConfig, source_vocab_size: int, target_vocab_size: int) -> Seq2Seq:
    """Build the model; initial weights are drawn from torch's generator."""
    target_embedding = Embedding(target_vocab_size, config.decoder.width)
    if config.tie_embeddings == "all":
        if source_vocab_size != target_vocab_size or config.encoder.width != config.decoder.width:
            raise UsageError(
                "model.tie_embeddings: all needs a joint vocabulary (text.joint = true) and equal widths of encoder and"
                f" decoder; there are {source_vocab_size} and {target_vocab_size} tokens, and the widths are"
                f" {config.encoder.width} and {config.decoder.width}"
            )
        source_embedding = target_embedding
    else:
        source_embedding = Embedding(source_vocab_size, config.encoder.width)
    encoder = config.encoder.build(source_embedding)
    decoder = config.decoder.build(target_embedding, encoder.shape)
    return Seq2Seq(
        encoder, decoder, config.head.build(decoder, None if config.tie_embeddings == "none" else target_embedding)
    )
