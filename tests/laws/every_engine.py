"""Every engine of calque's table, opened on each of a few models that it takes, for the laws of search."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from random_models import SOURCE_WORDS, narrow, write_random
from torch import Tensor

from calque import load, rows
from calque.engines.engine import Engine
from calque.errors import UsageError
from calque.ids import BOS, EOS
from calque.predict.predictor import Predictor
from calque.predict.reader import SearchBatch
from calque.predict.texts import parse_lines
from calque.search.hypotheses import Hypotheses
from calque.search.options import SearchConfig
from calque.search.scorer import Scorer

# By name: the architectures and seeds of its members.
MODELS = {
    "transformer": (("transformer", 5),),
    "fast": (("fast", 6),),
    "gru": (("gru", 7),),
    "pointer": (("pointer", 8),),
    "ensemble": (("transformer", 5), ("gru", 7)),
    "copying ensemble": (("pointer", 8), ("transformer", 5)),
}
TOLERANCE = 1e-4
# The sum of an output's log-probabilities, in an engine that rounds numbers: what a row is rounded to may depend on
# its neighbours in the batch, whose largest value sets the step. An engine that is not listed is held to TOLERANCE.
ROUNDED = {"int8": 0.15, "bf16": 0.02}
# CTranslate2 removes forbidden tokens before it normalises, so that its beam may keep other hypotheses than calque's.
OTHER_BEAMS_UNDER_WISHES = ("ctranslate2",)


@dataclass(frozen=True)
class Pair:
    """An engine on one model: `engine` searches, `exact` is the model itself, or the ensemble of several."""

    name: str
    model: str
    predictor: Predictor

    @property
    def engine(self) -> Engine:
        return self.predictor.engine

    @property
    def is_exact(self) -> bool:
        """Return whether the engine computes as the model does, up to the last digits."""
        return self.name not in ROUNDED

    @property
    def tolerance(self) -> float:
        """Return by how much the log-probability of an output may differ between two batches."""
        return ROUNDED.get(self.name, TOLERANCE)

    def reference(self) -> Scorer:
        """Return the scorer that the engine is held to: the model itself, or its own scorer if it rounds numbers."""
        if not self.is_exact:
            return self.engine.scorer()
        network: Any = self.predictor.network
        return network

    def batch(self, count: int, seed: int = 3) -> SearchBatch:
        """Return sentences of different lengths, some with words that the vocabulary does not contain."""
        draw = random.Random(seed)
        texts = [
            " ".join(f"s{draw.randrange(SOURCE_WORDS + 4)}" for _ in range(draw.randint(1, 7))) for _ in range(count)
        ]
        reader = self.predictor.reader
        parts = [part for own in reader.read(parse_lines(texts, reader.text, "")) for part in own]
        return reader.collate(parts, torch.device("cpu"))

    def __str__(self) -> str:
        return f"{self.name} on {self.model}"


def write_models(folder: Path) -> None:
    """Write the members of all models."""
    for name, seed in {member for members in MODELS.values() for member in members}:
        write_random(folder / f"{name}-{seed}", narrow(name), seed=seed)


def pairs_of(engine: str, folder: Path) -> list[Pair]:
    """Return an engine on every model that it takes."""
    pairs, refusals = [], list[str]()
    for model, members in MODELS.items():
        paths = [folder / f"{name}-{seed}" for name, seed in members]
        try:
            opened = load(paths, device="cpu", engine=engine)
        except UsageError as error:
            refusals.append(str(error))
        else:
            pairs.append(Pair(engine, model, opened))
    assert all(refusal.startswith(f"engine {engine}") for refusal in refusals), refusals
    return pairs


def one_row(batch: SearchBatch, row: int) -> SearchBatch:
    """Return one sentence of a batch; its padding stays, since no answer may depend on it."""
    index = torch.tensor([row])
    record, lengths, prefixes = rows.select((batch.record, batch.lengths, batch.prefixes), index)
    return replace(batch, record=record, lengths=lengths, prefixes=prefixes, sources=[batch.sources[row]])


def answer(pair: Pair, batch: SearchBatch, options: SearchConfig, prefixes: Tensor | None = None, **more: Any) -> Any:
    """Search a batch as a Predictor does."""
    with torch.inference_mode():
        begun = batch.prefixes if prefixes is None else prefixes
        return pair.engine(batch.record, batch.lengths, begun, options, **more)


def outputs(found: Hypotheses, row: int) -> list[list[int]]:
    """Return the token lists of one sentence's hypotheses, best first."""
    return [
        found.tokens[row, rank, : int(found.lengths[row, rank])].tolist()
        for rank in range(found.tokens.shape[1])
        if found.scores[row, rank] > float("-inf")
    ]


@torch.inference_mode()
def forced(scorer: Scorer, batch: SearchBatch, row: int, tokens: Sequence[int]) -> list[list[float]]:
    """Return the log-probabilities [T + 1, V] of the next token along forced `tokens`, one hypothesis alone."""
    context, state = scorer.start(one_row(batch, row).record)
    scores = []
    for token in (BOS, *tokens):
        log_probs, state = scorer.step(torch.tensor([token]), state, context)
        scores.append(log_probs[0].float().tolist())
    return scores


def log_prob(scorer: Scorer, batch: SearchBatch, row: int, tokens: Sequence[int]) -> float:
    """Return the log-probability of an output with its </s>."""
    return sum(scores[token] for scores, token in zip(forced(scorer, batch, row, tokens), [*tokens, EOS], strict=True))
