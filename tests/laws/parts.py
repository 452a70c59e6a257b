"""The parts that the laws are held over: every encoder, decoder and attention, in small.

A new part joins by being listed here; it is then held to all laws.
"""

import itertools
from dataclasses import dataclass

import torch

from calque.batch import Batch
from calque.data.collate import collate_pairs
from calque.model import ModelConfig, Seq2Seq, build
from calque.nn.attention import (
    AdditiveAttentionConfig,
    AttentionConfig,
    DotAttentionConfig,
    GeneralAttentionConfig,
    NoAttentionConfig,
)
from calque.nn.recurrent import RecurrentDecoderConfig, RecurrentEncoderConfig
from calque.nn.transformer import TransformerDecoderConfig, TransformerEncoderConfig

VOCAB_SIZE = 13
WIDTH = 12

CELLS = ("rnn", "lstm", "gru")
ATTENTIONS: tuple[AttentionConfig, ...] = (
    NoAttentionConfig(),
    DotAttentionConfig(),
    GeneralAttentionConfig(),
    AdditiveAttentionConfig(width=7),
)
TRANSFORMER = {"layers": 2, "width": WIDTH, "heads": 3, "feed_forward": 20, "dropout": 0.25, "attention_dropout": 0.1}

ENCODERS = {
    **{
        f"{cell}{'-bi' if both else ''}": RecurrentEncoderConfig(
            kind=cell, layers=2, width=WIDTH, bidirectional=both, dropout=0.25
        )
        for cell in CELLS
        for both in (True, False)
    },
    "transformer": TransformerEncoderConfig(**TRANSFORMER),
}
DECODERS = {
    **{
        f"{cell}-{attention.kind}{'-fed' if fed else ''}": RecurrentDecoderConfig(
            kind=cell, layers=2, width=WIDTH, attention=attention, input_feeding=fed, dropout=0.25
        )
        for cell in CELLS
        for attention in ATTENTIONS
        for fed in (False, True)
        if not (fed and attention.kind == "none")
    },
    "transformer": TransformerDecoderConfig(**TRANSFORMER),
}
TIES = ("none", "target", "all")


@dataclass(frozen=True)
class Case:
    """Name one combination."""

    encoder: str
    decoder: str
    tie: str

    def __str__(self) -> str:
        return f"{self.encoder}+{self.decoder}+{self.tie}"

    @property
    def config(self) -> ModelConfig:
        """Return the section of the recipe."""
        return ModelConfig(encoder=ENCODERS[self.encoder], decoder=DECODERS[self.decoder], tie_embeddings=self.tie)


# Every encoder with every decoder; the ways of tying are dealt out in turn, so each meets many of both.
PRODUCT = [
    Case(encoder, decoder, tie)
    for (encoder, decoder), tie in zip(itertools.product(ENCODERS, DECODERS), itertools.cycle(TIES), strict=False)
]


def model(case: Case, seed: int = 0) -> Seq2Seq:
    """Build a case with weights large enough that the distributions are not flat."""
    torch.manual_seed(seed)
    made = build(case.config, VOCAB_SIZE, VOCAB_SIZE)
    with torch.no_grad():
        made.head.projection.weight.mul_(3.0)
    return made.eval()


def batch(seed: int = 0, num_rows: int = 4, longest: int = 7) -> Batch:
    """Return pairs of unequal lengths."""
    generator = torch.Generator().manual_seed(seed)

    def sentence() -> list[int]:
        length = int(torch.randint(1, longest + 1, (1,), generator=generator))
        return torch.randint(4, VOCAB_SIZE, (length,), generator=generator).tolist()

    return collate_pairs([sentence() for _ in range(num_rows)], [sentence() for _ in range(num_rows)])
