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
from calque.ids import EOS, PAD
from calque.model import ModelConfig, Seq2Seq, build
from calque.text.source import SourceIds, plain_sources

VOCAB_SIZE = 13
WIDTH = 12
EDGE_KINDS = 2

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
    "several": {
        "kind": "several",
        "encoders": [{"kind": "lstm", "layers": 2, "width": WIDTH, "dropout": 0.25}, TRANSFORMER],
    },
    "ggnn": {"kind": "ggnn", "layers": 2, "width": WIDTH, "dropout": 0.25, "edge_kinds": EDGE_KINDS},
    "gat": {**TRANSFORMER, "kind": "gat", "edge_kinds": EDGE_KINDS},
    "graph-transformer": {**TRANSFORMER, "kind": "graph_transformer", "edge_kinds": EDGE_KINDS, "paths": 3},
    "memory": {"kind": "memory", "hops": 2, "width": WIDTH, "dropout": 0.25, "ages": 2, "places": 4},
}
GRAPH_ENCODERS = ("ggnn", "gat", "graph-transformer")
CELL_OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "residual": {"residual": True},
    "layer-norm": {"layer_norm": True},
    "variational": {"variational_dropout": 0.25},
    "deep": {"residual": True, "layer_norm": True, "variational_dropout": 0.25},
}
DECODERS: dict[str, dict[str, Any]] = {
    **{cell: {"kind": cell, "layers": 2, "width": WIDTH, "dropout": 0.25} for cell in CELLS},
    "transformer": TRANSFORMER,
}
ATTENTIONS: dict[str, dict[str, Any]] = {
    "none": {"kind": "none"},
    "dot": {"kind": "dot"},
    "scaled-dot": {"kind": "scaled_dot"},
    "general": {"kind": "general"},
    "additive": {"kind": "additive", "width": 7},
    "multi-head": {"kind": "multi_head", "heads": 3, "width": 6},
    "local": {"kind": "local", "window": 2},
    "location": {"kind": "location", "width": 7, "filters": 3, "kernel": 5},
    "location-sum": {"kind": "location", "width": 7, "filters": 3, "kernel": 3, "cumulative": True},
    "hierarchical": {"kind": "hierarchical", "within": "additive", "width": 5},
}
COVERAGES: dict[str, dict[str, Any]] = {
    "none": {},
    "score": {"coverage": True},
    "loss": {"coverage_loss": 0.7},
    "score-loss": {"coverage": True, "coverage_loss": 0.7},
}
NORMALISERS: dict[str, dict[str, Any]] = {
    "softmax": {},
    "sparsemax": {"normaliser": "sparsemax"},
    "entmax": {"normaliser": "entmax"},
}
NORM_POSITIONS: dict[str, dict[str, Any]] = {"pre-norm": {}, "post-norm": {"norm_position": "post"}}
NORMS: dict[str, dict[str, Any]] = {"layer": {}, "rms": {"norm": "rms"}}
ACTIVATIONS: dict[str, dict[str, Any]] = {kind: {"activation": kind} for kind in ("relu", "gelu", "swiglu")}
POSITIONS: dict[str, dict[str, Any]] = {
    "sinusoidal": {},
    "learned": {"positions": {"kind": "learned", "limit": 20}},
    "relative": {"positions": {"kind": "relative", "buckets": 8, "distance": 7}},
    "rotary": {"positions": {"kind": "rotary"}},
    "alibi": {"positions": {"kind": "alibi"}},
    "no-positions": {"positions": {"kind": "none"}},
}
GROUPS: dict[str, dict[str, Any]] = {"heads": {}, "grouped-heads": {"heads": 6, "key_value_heads": 2}}
FRAMES: dict[str, dict[str, Any]] = {
    "full": {},
    "bare": {"bias": False, "scale_embeddings": False, "head_width": 6},
    "normed-embeddings": {"norm_embeddings": True},
}
MIXERS: dict[str, dict[str, Any]] = {kind: {"mixer": {"kind": kind}} for kind in ("attention", "ssru", "average")}


def is_recurrent(choice: Choice) -> bool:
    """Return whether the decoder is recurrent."""
    return choice["decoder"] in CELLS


def has_cells(choice: Choice) -> bool:
    """Return whether encoder or decoder is made of recurrent cells."""
    return is_recurrent(choice) or ENCODERS[choice["encoder"]]["kind"] in CELLS


def attends(choice: Choice) -> bool:
    """Return whether the decoder has an attention that was chosen."""
    return is_recurrent(choice) and choice["attention"] != "none"


def decodes_by_transformer(choice: Choice) -> bool:
    """Return whether the decoder is a Transformer."""
    return DECODERS[choice["decoder"]]["kind"] == "transformer"


def has_transformer(choice: Choice) -> bool:
    """Return whether encoder or decoder is a Transformer."""
    return decodes_by_transformer(choice) or ENCODERS[choice["encoder"]]["kind"] == "transformer"


def variant(choice: Choice) -> dict[str, Any]:
    """Return what a choice says of Transformers on either side."""
    options = (NORM_POSITIONS, "norm_position"), (NORMS, "norm"), (ACTIVATIONS, "activation"), (POSITIONS, "positions")
    chosen = [table[choice[axis]] for table, axis in (*options, (GROUPS, "groups"), (FRAMES, "frame"))]
    return {key: value for part in chosen for key, value in part.items()}


# An axis that does not apply to the rest of a choice takes its first option.
AXES = {
    "encoder": Axis(tuple(ENCODERS)),
    "decoder": Axis(tuple(DECODERS)),
    "cells": Axis(tuple(CELL_OPTIONS), has_cells),
    "bridge": Axis(("dense", "mean", "final", "zero"), is_recurrent),
    "attention": Axis(tuple(ATTENTIONS), is_recurrent),
    "feeding": Axis(("plain", "fed"), attends),
    "coverage": Axis(tuple(COVERAGES), lambda choice: attends(choice) or decodes_by_transformer(choice)),
    "normaliser": Axis(tuple(NORMALISERS), attends),
    "norm_position": Axis(tuple(NORM_POSITIONS), has_transformer),
    "norm": Axis(tuple(NORMS), has_transformer),
    "activation": Axis(tuple(ACTIVATIONS), has_transformer),
    "positions": Axis(tuple(POSITIONS), has_transformer),
    "groups": Axis(tuple(GROUPS), has_transformer),
    "frame": Axis(tuple(FRAMES), has_transformer),
    "mixer": Axis(tuple(MIXERS), decodes_by_transformer),
    "head": Axis(("softmax", "pointer")),
    "tie": Axis(("none", "target", "all")),
}


def sensible(choice: Choice) -> bool:
    """Return whether the options go together."""
    if decodes_by_transformer(choice) and choice["coverage"] in ("score", "score-loss"):
        return False
    # Without self-attention there are no scores that these could change.
    if choice["mixer"] != "attention" and choice["positions"] in ("relative", "rotary", "alibi"):
        return False
    if choice["attention"] == "hierarchical" and choice["encoder"] != "several":
        return False
    encoder_cell = ENCODERS[choice["encoder"]]["kind"]
    # States are handed over as they are between cells with as many parts.
    same_parts = encoder_cell in CELLS and (encoder_cell == "lstm") == (choice["decoder"] == "lstm")
    if choice["bridge"] == "final" and not same_parts:
        return False
    if choice["bridge"] == "zero" and not attends(choice):
        return False
    return attends(choice) or not is_recurrent(choice) or choice["head"] != "pointer"


@dataclass(frozen=True)
class Case:
    """Hold one combination."""

    options: tuple[tuple[str, str], ...]

    @property
    def copies(self) -> bool:
        """Return whether the head copies."""
        return dict(self.options)["head"] == "pointer"

    @property
    def is_sparse(self) -> bool:
        """Return whether attention has weights of exactly 0."""
        return dict(self.options)["normaliser"] != "softmax"

    @property
    def reads_graphs(self) -> bool:
        """Return whether the encoder reads edges."""
        return dict(self.options)["encoder"] in GRAPH_ENCODERS

    @property
    def reads_several(self) -> bool:
        """Return whether the encoder reads two sources."""
        return dict(self.options)["encoder"] == "several"

    @property
    def reads_sentences(self) -> bool:
        """Return whether the encoder reads sentences that </s> closes."""
        return dict(self.options)["encoder"] == "memory"

    def __str__(self) -> str:
        return "+".join(option for _, option in self.options)

    @property
    def config(self) -> ModelConfig:
        """Return the section of the recipe."""
        choice = dict(self.options)
        encoder, decoder = ENCODERS[choice["encoder"]], DECODERS[choice["decoder"]]
        if encoder["kind"] in CELLS:
            encoder = encoder | CELL_OPTIONS[choice["cells"]]
        if encoder["kind"] == "transformer":
            encoder = encoder | variant(choice)
        if decodes_by_transformer(choice):
            decoder = decoder | variant(choice) | MIXERS[choice["mixer"]] | COVERAGES[choice["coverage"]]
        if is_recurrent(choice):
            decoder = decoder | CELL_OPTIONS[choice["cells"]] | {"bridge": choice["bridge"]}
            options = COVERAGES[choice["coverage"]] | NORMALISERS[choice["normaliser"]]
            decoder["attention"] = ATTENTIONS[choice["attention"]] | options
            decoder["input_feeding"] = choice["feeding"] == "fed"
        return ModelConfig.model_validate(
            {
                "encoder": encoder,
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
    if case.reads_several:
        sources = [in_two(source.tokens, draws.randint(0, len(source))) for source in sources]
    if case.reads_sentences:
        sources = plain_sources([sentences(source.tokens, draws) for source in sources])
    if case.reads_graphs:
        sources = [joined(source.tokens, draws) for source in sources]
    if not case.copies:
        return collate_pairs(sources, [sentence(VOCAB_SIZE) for _ in range(num_rows)])
    sources = [replace(with_copies(source.tokens), segments=source.segments, edges=source.edges) for source in sources]
    targets = [sentence(VOCAB_SIZE + len(source.forms)) for source in sources]
    return collate_pairs(sources, targets, VOCAB_SIZE)


def with_copies(tokens: list[int]) -> SourceIds:
    """Return a source of which the highest ids are unknown forms, one cannot be copied, and the rest are themselves."""
    unknown = sorted({token for token in tokens if token >= VOCAB_SIZE - 3})
    table = {token: VOCAB_SIZE + number for number, token in enumerate(unknown)} | {4: PAD, EOS: PAD}
    return SourceIds(tokens, [table.get(token, token) for token in tokens], tuple(map(str, unknown)))


def sentences(tokens: list[int], draws: random.Random) -> list[int]:
    """Return tokens as sentences, each but the last closed by </s>; a sentence may be empty."""
    for _ in range(draws.randint(0, 3)):
        cut = draws.randint(0, len(tokens))
        tokens = [*tokens[:cut], EOS, *tokens[cut:]]
    return tokens


def in_two(tokens: list[int], cut: int) -> SourceIds:
    """Return tokens as two sources, the first of `cut` of them, closed by </s>; either may be blank."""
    segments = [0] * (cut + 1) + [1] * (len(tokens) - cut)
    return SourceIds([*tokens[:cut], EOS, *tokens[cut:]], segments=segments)


def joined(tokens: list[int], draws: random.Random) -> SourceIds:
    """Return tokens with random edges of every kind; some graphs have none, some an edge twice."""
    places, number = range(len(tokens)), draws.randint(0, 2 * len(tokens))
    edges = [(draws.choice(places), draws.choice(places), draws.randint(1, EDGE_KINDS)) for _ in range(number)]
    return SourceIds(tokens, edges=edges)


def unpadded(source: Source, row: int) -> Source:
    """Return one sentence of a batch as it is alone."""
    length = int(source.mask[row].sum())
    alone = rows.select(source, torch.tensor([row]))
    copy_ids, forms, segment, edges = alone.copy_ids, alone.forms, alone.segment, alone.edges
    return replace(
        alone,
        tokens=alone.tokens[:, :length],
        mask=alone.mask[:, :length],
        copy_ids=None if copy_ids is None else copy_ids[:, :length],
        forms=None if forms is None else forms[:, : int(forms.sum())],
        segment=None if segment is None else segment[:, :length],
        edges=None if edges is None else edges[:, : int((edges[0, :, 2] > 0).sum())],
    )


def target(tokens: list[int]) -> Target:
    """Return a batch of one target."""
    return collate_pairs(plain_sources([[4]]), [tokens]).target
