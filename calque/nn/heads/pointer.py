"""The pointer-generator of See et al. 2017: a softmax over the vocabulary mixed with copying from the source.

Each form of a source token that is not in the vocabulary has a column after V, so that it can be generated.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from calque.batch import Source
from calque.config import Config
from calque.errors import UsageError
from calque.nn.embedding import Embedding
from calque.nn.heads.softmax import SoftmaxHead
from calque.nn.parts import Decoder, Head, Memory, Output, fold
from calque.nn.typed import Linear

# Smaller probabilities are raised to this one, where the gradient is 0.
LEAST = 1e-30


class PointerHeadConfig(Config):
    """Mix the probabilities of the vocabulary with those of copying a source token."""

    kind: Literal["pointer"] = "pointer"
    """Softmax over the vocabulary, mixed with copying source tokens (See et al. 2017)."""

    def build(self, decoder: Decoder, tied: Embedding | None) -> "PointerHead":
        """Build the head; UsageError for a decoder without attention."""
        if not decoder.has_attention:
            raise UsageError(
                "model.head: pointer copies the tokens that the decoder attends to, but model.decoder.attention is none"
            )
        return PointerHead(decoder.width, decoder.embedding.vocab_size, tied)


@dataclass(frozen=True)
class PointerContext:
    """`copy_ids` [B, S] and `forms` [B, X] of the source (see `calque.batch.Source`)."""

    copy_ids: Tensor
    forms: Tensor


class PointerHead(Head):
    """Mix p · softmax over V with (1 − p) · attention over copyable tokens; p depends on the hidden vector."""

    reads_attention = True

    def __init__(self, width: int, vocab_size: int, tied: Embedding | None) -> None:
        super().__init__()
        self.vocab_size = vocab_size
        self.vocabulary = SoftmaxHead(width, vocab_size, tied)
        self.gate = Linear(width, 1)

    @property
    def projection(self) -> Linear:
        """Return the projection to the vocabulary."""
        return self.vocabulary.projection

    def start(self, source: Source, memory: Memory) -> PointerContext:
        """Return the ids of the tokens that can be copied."""
        assert source.copy_ids is not None, "a pointer needs copy_ids, which the source does not have"
        assert source.forms is not None
        return PointerContext(source.copy_ids, source.forms)

    def log_probs(self, output: Output, context: PointerContext) -> Tensor:
        """Return log-probabilities [R, V + X] in fp32; −inf for forms that a sentence does not have."""
        assert output.attention is not None
        generated = self.vocabulary.log_probs(output, None).exp()
        num_sentences, num_rows = context.copy_ids.shape[0], generated.shape[0]
        copyable = (context.copy_ids > 0).unsqueeze(1)
        # [B·K, S] -> [B, K, S]
        weights = fold(output.attention.float(), num_sentences) * copyable
        total = weights.sum(dim=-1, keepdim=True)
        copied = fold(torch.sigmoid(-self.gate(output.hidden).float()), num_sentences)
        # Without attention to tokens that can be copied, all tokens come from the vocabulary.
        share = torch.where(total > LEAST, copied, 0.0)
        weights = weights * (share / total.clamp_min(LEAST))
        mixed = fold(generated, num_sentences) * (1 - share)
        mixed = nn.functional.pad(mixed, (0, context.forms.shape[1]))
        mixed = mixed.scatter_add(2, context.copy_ids.unsqueeze(1).expand_as(weights), weights)
        log_probs = mixed.clamp_min(LEAST).log()
        if context.forms.shape[1]:
            allowed = nn.functional.pad(context.forms, (generated.shape[1], 0), value=True)
            log_probs = log_probs.masked_fill(~allowed.unsqueeze(1), float("-inf"))
        return log_probs.reshape(num_rows, -1)
