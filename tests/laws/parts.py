"""The parts that the laws are held over, in small: a new part joins by being listed here, and is held to all laws.

Every pair of choices that go together occurs in `ALL`; `make test` runs the few of `SAMPLE`, which show each choice.
"""

import random
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from covering import Axis, Choice, covering, sample

from calque import rows
from calque.batch import Batch, Source, Target
from calque.data.collate import collate_pairs
from calque.model import ModelConfig, Seq2Seq, build
from calque.text.source_ids import SourceIds, plain_sources
from calque.text.tokenizer import PAD

VOCAB_SIZE = 13
WIDTH = 12

CELLS = ("rnn", "lstm", "gru")
TRANSFORMER = {
    "kind": "transformer",
    "layers": 2,
    "width": WIDTH,
    "heads": 3,
    "feed_forward": 20,
    "dropout": 0.25,
    "attention_dropout": 0.1,
}
ENCODERS: dict[str, dict[str, Any]] = {
    **{
        f"{cell}{'-bi' if both else ''}": {
            "kind": cell,
            "layers": 2,
            "width": WIDTH,
            "bidirectional": both,
            "dropout": 0.25,
        }
        for cell in CELLS
        for both in (True, False)
    },
    "transformer": TRANSFORMER,
}
DECODERS: dict[str, dict[str, Any]] = {
    **{cell: {"kind": cell, "layers": 2, "width": WIDTH, "dropout": 0.25} for cell in CELLS},
    "transformer": TRANSFORMER,
}
ATTENTIONS: dict[str, dict[str, Any]] = {
    "none": {"kind": "none"},
    "dot": {"kind": "dot"},
    "general": {"kind": "general"},
    "additive": {"kind": "additive", "width": 7},
}
COVERAGES: dict[str, dict[str, Any]] = {
    "none": {},
    "score": {"coverage": True},
    "loss": {"coverage": True, "coverage_loss": 0.7},
}


def is_recurrent(choice: Choice) -> bool:
    """Say whether the decoder is recurrent."""
    return choice["decoder"] in CELLS


def attends(choice: Choice) -> bool:
    """Say whether the decoder has an attention that was chosen."""
    return is_recurrent(choice) and choice["attention"] != "none"


# An axis that does not apply to the rest of a choice takes its first option.
AXES = {
    "encoder": Axis(tuple(ENCODERS)),
    "decoder": Axis(tuple(DECODERS)),
    "attention": Axis(tuple(ATTENTIONS), is_recurrent),
    "feeding": Axis(("plain", "fed"), attends),
    "coverage": Axis(tuple(COVERAGES), attends),
    "head": Axis(("softmax", "pointer")),
    "tie": Axis(("none", "target", "all")),
}


def sensible(choice: Choice) -> bool:
    """Say whether the options go together."""
    return attends(choice) or not is_recurrent(choice) or choice["head"] != "pointer"


@dataclass(frozen=True)
class Case:
    """Hold one combination."""

    options: tuple[tuple[str, str], ...]

    @property
    def copies(self) -> bool:
        """Say whether the head copies."""
        return dict(self.options)["head"] == "pointer"

    def __str__(self) -> str:
        return "+".join(option for _, option in self.options)

    @property
    def config(self) -> ModelConfig:
        """Return the section of the recipe."""
        choice = dict(self.options)
        decoder = dict(DECODERS[choice["decoder"]])
        if is_recurrent(choice):
            decoder["attention"] = ATTENTIONS[choice["attention"]] | COVERAGES[choice["coverage"]]
            decoder["input_feeding"] = choice["feeding"] == "fed"
        return ModelConfig.model_validate(
            {
                "encoder": ENCODERS[choice["encoder"]],
                "decoder": decoder,
                "head": {"kind": choice["head"]},
                "tie_embeddings": choice["tie"],
            }
        )


def _case(choice: Choice) -> Case:
    return Case(tuple(choice.items()))


_CHOSEN = covering(AXES, sensible)
ALL = [_case(choice) for choice in _CHOSEN]
SAMPLE = [_case(choice) for choice in sample(_CHOSEN)]
# The whole covering takes minutes; what `make test` leaves out is marked slow.
PRODUCT = [case if case in SAMPLE else pytest.param(case, marks=pytest.mark.slow) for case in ALL]


def model(case: Case, seed: int = 0) -> Seq2Seq:
    """Build a case with weights large enough that the distributions are not flat."""
    torch.manual_seed(seed)
    made = build(case.config, VOCAB_SIZE, VOCAB_SIZE)
    with torch.no_grad():
        made.head.projection.weight.mul_(3.0)
    return made.eval()


def batch(case: Case, seed: int = 0, num_rows: int = 4, longest: int = 7) -> Batch:
    """Return pairs of unequal lengths; for a pointer some source tokens are forms that the vocabulary lacks."""
    draws = random.Random(seed)

    def sentence(top: int) -> list[int]:
        return [draws.randrange(4, top) for _ in range(draws.randint(1, longest))]

    sources = plain_sources([sentence(VOCAB_SIZE) for _ in range(num_rows)])
    if not case.copies:
        return collate_pairs(sources, [sentence(VOCAB_SIZE) for _ in range(num_rows)])
    sources = [with_copies(source.tokens) for source in sources]
    targets = [sentence(VOCAB_SIZE + len(source.forms)) for source in sources]
    return collate_pairs(sources, targets, VOCAB_SIZE)


def with_copies(tokens: list[int]) -> SourceIds:
    """Return a source of which the highest ids are unknown forms, one cannot be copied, and the rest are themselves."""
    unknown = sorted({token for token in tokens if token >= VOCAB_SIZE - 3})
    table = {token: VOCAB_SIZE + number for number, token in enumerate(unknown)} | {4: PAD}
    return SourceIds(tokens, [table.get(token, token) for token in tokens], tuple(map(str, unknown)))


def unpadded(source: Source, row: int) -> Source:
    """Return one sentence of a batch as it is alone."""
    length = int(source.mask[row].sum())
    alone = rows.select(source, torch.tensor([row]))
    copy_ids, forms = alone.copy_ids, alone.forms
    return replace(
        alone,
        tokens=alone.tokens[:, :length],
        mask=alone.mask[:, :length],
        copy_ids=None if copy_ids is None else copy_ids[:, :length],
        forms=None if forms is None else forms[:, : int(forms.sum())],
    )


def target(tokens: list[int]) -> Target:
    """Return a batch of one target."""
    return collate_pairs(plain_sources([[4]]), [tokens]).target
