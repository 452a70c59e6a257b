"""The memory network of Sukhbaatar et al. 2015: sentences as bags of tokens, at which a question looks several times.

`</s>` closes each sentence but the last (`text.layout.kind = "sentences"`), and each source but the last. The first
sentence is the question; a source of one sentence asks itself. Each hop attends to the sentences with the question's
vector, and adds what it finds to it.
"""

import itertools
from typing import TYPE_CHECKING, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from calque.batch import Source
from calque.config import Config, DropoutRate, Width
from calque.ids import EOS
from calque.nn.dropout import Dropout
from calque.nn.embedding import Embedding
from calque.nn.parts import Encoder, Memory, MemoryShape

INITIAL = 0.1


class MemoryEncoderConfig(Config):
    """Read sentences as bags of tokens that a question looks at several times."""

    kind: Literal["memory"] = "memory"
    """Memory network: attention over sentences in several hops (Sukhbaatar et al. 2015)."""
    hops: int = Field(default=3, ge=1, le=32)
    """Number of looks at the sentences."""
    width: Width = 128
    """Width of embeddings and memory."""
    dropout: DropoutRate = 0.1
    """Dropout on embeddings and memory."""
    ages: int = Field(default=64, ge=1, le=10_000)
    """Number of sentences from the end whose age is distinguished; all older ones share an age."""
    places: int = Field(default=64, ge=1, le=10_000)
    """Number of tokens from the start of a sentence whose place is distinguished; all later ones share a place."""

    @property
    def layers(self) -> int:
        """Return the number of hops."""
        return self.hops

    def build(self, embedding: Embedding) -> "MemoryEncoder":
        """Build the encoder."""
        return MemoryEncoder(self, embedding)


class MemoryEncoder(Encoder):
    """Look at the sentences of a source several times.

    Hop k compares the question with sentences by table k, and adds their vectors by table k + 1 (adjacent tying). A
    state is the sum of the vectors of its token, its place, its sentence by the last table, and the question after all
    hops; the summary is the question alone.
    """

    scale_embeddings = False

    def __init__(self, config: MemoryEncoderConfig, embedding: Embedding) -> None:
        super().__init__()
        self.embedding = embedding
        self.tables = nn.ModuleList(Embedding(embedding.vocab_size, config.width) for _ in range(config.hops + 1))
        self.ages = nn.Parameter(torch.randn(config.hops + 1, config.ages, config.width) * INITIAL)
        # Near 1, so that a sentence begins as a plain sum, but with places that differ.
        self.places = nn.Parameter(1 + torch.randn(config.places, config.width) * INITIAL)
        # A copied token is found by its place, which a bag does not keep.
        self.order = nn.Parameter(torch.randn(config.places, config.width) * INITIAL)
        self.dropout = Dropout(config.dropout)
        self.shape = MemoryShape(config.width, config.width, 1, False)

    def forward(self, source: Source) -> Memory:
        """Encode B sources of at most N sentences."""
        number, place = _sentences(source)
        is_sentence = _is_sentence(number, source.mask)
        weight = self.places[place.clamp(max=len(self.places) - 1)] * source.mask.unsqueeze(-1)
        age = is_sentence.sum(dim=1, keepdim=True) - 1 - torch.arange(is_sentence.shape[1], device=number.device)
        bags = [self._bags(hop, source.tokens, weight, number, age) for hop in range(len(self.tables))]
        # The question is not among the sentences, unless it is the only one.
        is_read = is_sentence.clone()
        is_read[:, 0] &= is_sentence.sum(dim=1) == 1
        asked = bags[0][:, 0]
        for read, found in itertools.pairwise(bags):
            scores = (read @ asked.unsqueeze(-1)).squeeze(-1).masked_fill(~is_read, float("-inf"))
            asked = asked + (scores.softmax(dim=-1).unsqueeze(1) @ found).squeeze(1)
        own = self.embedding(source.tokens) + self.order[place.clamp(max=len(self.order) - 1)]
        about = bags[-1].gather(1, number.unsqueeze(-1).expand(-1, -1, bags[-1].shape[-1]))
        return Memory(self.dropout(own + about + asked.unsqueeze(1)), source.mask, (self.dropout(asked).unsqueeze(1),))

    def _bags(self, hop: int, tokens: Tensor, weight: Tensor, number: Tensor, age: Tensor) -> Tensor:
        """Return the vectors of the sentences [B, N, D] by the table of a hop."""
        values = self.dropout(self.tables[hop](tokens, scaled=False)) * weight
        bags = values.new_zeros(len(tokens), age.shape[1], values.shape[-1])
        bags = bags.scatter_add(1, number.unsqueeze(-1).expand_as(values), values)
        return bags + self.ages[hop][age.clamp(0, self.ages.shape[1] - 1)]

    if TYPE_CHECKING:
        __call__ = forward


def _sentences(source: Source) -> tuple[Tensor, Tensor]:
    """Return the number of each token's sentence and its place in the sentence, both [B, S] from 0."""
    closes = (source.tokens == EOS) & source.mask
    # The last token, which closes the source, and padding belong to the last sentence.
    number = (closes.cumsum(dim=1) - closes.long()).minimum(closes.sum(dim=1, keepdim=True) - 1).clamp(min=0)
    here = torch.arange(number.shape[1], device=number.device).expand_as(number)
    is_first = torch.ones_like(closes)
    is_first[:, 1:] = number[:, 1:] != number[:, :-1]
    return number, here - here.masked_fill(~is_first, 0).cummax(dim=1).values


def _is_sentence(number: Tensor, mask: Tensor) -> Tensor:
    """Return a mask [B, N] of the sentences that each source has."""
    counts = number.masked_fill(~mask, 0).amax(dim=1) + 1
    return torch.arange(int(counts.max()), device=number.device) < counts.unsqueeze(1)
