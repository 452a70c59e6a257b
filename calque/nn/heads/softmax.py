"""The softmax head: log-probabilities of the next token by one projection."""

from typing import Literal

from torch import Tensor, nn

from calque.batch import Source
from calque.config import Config
from calque.nn.embedding import Embedding
from calque.nn.heads.fused_loss import Projection, projected_losses
from calque.nn.parts import Decoder, Head, Memory, Output
from calque.nn.typed import Linear


class SoftmaxHeadConfig(Config):
    """Score all tokens of the vocabulary by one projection."""

    kind: Literal["softmax"] = "softmax"
    """Softmax over the vocabulary."""
    learned_bias: bool = True
    """Whether the bias of each token is trained; if not, it stays 0, or as in imported weights."""

    def build(self, decoder: Decoder, tied: Embedding | None) -> "SoftmaxHead":
        """Build the head for a decoder and the vocabulary of its embedding."""
        head = SoftmaxHead(decoder.width, decoder.embedding.vocab_size, tied)
        head.projection.bias.requires_grad_(self.learned_bias)
        return head


class SoftmaxHead(Head):
    """Project to the vocabulary and normalise; the weights of the projection may be those of an embedding."""

    def __init__(self, width: int, vocab_size: int, tied: Embedding | None) -> None:
        super().__init__()
        self.vocab_size = vocab_size
        self.projection = Linear(width, vocab_size)
        nn.init.normal_(self.projection.weight, std=width**-0.5)
        nn.init.zeros_(self.projection.bias)
        if tied is not None:
            self.projection.weight = tied.weight

    def start(self, source: Source, memory: Memory) -> None:
        """Return None: the head reads nothing of the source."""
        return

    def log_probs(self, output: Output, context: None) -> Tensor:
        """Return log-probabilities [.., V] in fp32."""
        return self.projection(output.hidden).float().log_softmax(dim=-1)

    def losses(self, output: Output, context: None, sentences: Tensor, labels: Tensor, smoothing: float) -> Tensor:
        """Return the smoothed negative log-likelihood [N] without computing log-probabilities."""
        projection = Projection(output.hidden, self.projection.weight, self.projection.bias)
        return projected_losses(projection, labels, smoothing)
