"""Graph encoders learn what only edges tell: a chain whose nodes come in any order is written out, or backwards.

The positions say nothing, so an encoder that reads a line could not do it.
"""

import itertools
import random
from typing import Any

import pytest
import torch

from calque.data.collate import collate_pairs, collate_sources
from calque.model import ModelConfig, Seq2Seq, build
from calque.search.options import SearchConfig
from calque.search.steps import search
from calque.text.source import SourceIds

FIRST, NUM_SYMBOLS, LONGEST, BATCH = 4, 8, 5, 64
VOCAB_SIZE = FIRST + NUM_SYMBOLS
FOLLOWED_BY = 2
WIDE: dict[str, Any] = {"width": 64, "heads": 4, "feed_forward": 128, "dropout": 0.0}
GRU = {"kind": "gru", "width": 64, "dropout": 0.0, "attention": {"kind": "general"}}
TRANSFORMER = {"kind": "transformer", "layers": 2, **WIDE}
# Encoder, decoder, updates, learning rate.
MODELS: dict[str, tuple[dict[str, Any], dict[str, Any], int, float]] = {
    "ggnn": ({"kind": "ggnn", "layers": 3, "width": 64, "dropout": 0.0}, GRU, 300, 0.006),
    "gat": ({"kind": "gat", "layers": 4, **WIDE}, GRU, 650, 0.004),
    "graph_transformer": ({"kind": "graph_transformer", "layers": 2, **WIDE}, TRANSFORMER, 300, 0.003),
}


def chain(draws: random.Random) -> tuple[SourceIds, list[int]]:
    """Return symbols in a row as a graph with its nodes shuffled, and the row."""
    row = draws.choices(range(FIRST, VOCAB_SIZE), k=draws.randint(2, LONGEST))
    place = draws.sample(range(len(row)), len(row))
    tokens = [0] * len(row)
    for position, symbol in zip(place, row, strict=True):
        tokens[position] = symbol
    edges = [(start, end, FOLLOWED_BY) for start, end in itertools.pairwise(place)]
    return SourceIds(tokens, edges=edges), row


def trained(name: str, turn: int) -> Seq2Seq:
    encoder, decoder, updates, peak = MODELS[name]
    torch.manual_seed(3)
    torch.set_num_threads(1)
    section = {"encoder": encoder, "decoder": decoder}
    model = build(ModelConfig.model_validate(section), VOCAB_SIZE, VOCAB_SIZE).train()
    optimizer = torch.optim.Adam(model.parameters(), peak, betas=(0.9, 0.98))
    draws = random.Random(1)
    for step in range(updates):
        for group in optimizer.param_groups:
            group["lr"] = peak * min(1.0, (step + 1) / 30, 2 * (updates - step) / updates)
        drawn = [chain(draws) for _ in range(BATCH)]
        batch = collate_pairs([source for source, _ in drawn], [row[::turn] for _, row in drawn])
        loss = model.losses(batch).sum() / batch.target.mask.sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model.eval()


@pytest.mark.parametrize("turn", [pytest.param(1, id="copy"), pytest.param(-1, id="reverse", marks=pytest.mark.long)])
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.slow
def test_it_learns_to_follow_the_edges(name: str, turn: int) -> None:
    model = trained(name, turn)
    draws = random.Random(2)
    given = [chain(draws) for _ in range(200)]
    source = collate_sources([source for source, _ in given])
    with torch.inference_mode():
        found = search(model, source, source.mask.sum(dim=1), SearchConfig(beam=1))
    outputs = [found.tokens[row, 0, : found.lengths[row, 0]].tolist() for row in range(200)]
    right = sum(output == row[::turn] for output, (_, row) in zip(outputs, given, strict=True))
    assert right >= 0.99 * 200
