"""Laws 4, 5, 6, 8 and 15 over every engine of calque's table, on every model that it takes, ensembles among them."""

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from every_engine import (
    MODELS,
    OTHER_BEAMS_UNDER_WISHES,
    Pair,
    answer,
    forced,
    log_prob,
    one_row,
    outputs,
    pairs_of,
    write_models,
)
from torch import Tensor

from calque.engines.choice import ENGINES
from calque.ids import BOS, EOS, PAD, UNK
from calque.predict.reader import SearchBatch
from calque.search.hypotheses import Hypotheses
from calque.search.lengths import divisor, max_lengths
from calque.search.options import SearchConfig
from calque.search.processors import ForcedPrefix, MinimumLength, NoRepeat, Processor, Yielding
from calque.search.steps import Admission, Change, steps


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of all models."""
    made = tmp_path_factory.mktemp("models")
    write_models(made)
    return made


# What auto chooses is held to the laws under its own name.
NAMES = [pytest.param(name, marks=[pytest.mark.slow] if name == "auto" else []) for name in ENGINES]


@pytest.fixture(scope="module", params=NAMES)
def pairs(request: pytest.FixtureRequest, folder: Path, compiler: None) -> list[Pair]:
    """Return an engine of the table on every model that it takes."""
    if request.param == "ctranslate2":
        request.getfixturevalue("ctranslate2")
    return pairs_of(request.param, folder)


SHORT: dict[str, Any] = {"max_length_ratio": 0.0, "max_length_extra": 6}


def test_every_model_is_taken(pairs: list[Pair]) -> None:
    """An engine that refuses a model does so by name, before it searches; eager and auto take all of them."""
    taken = [pair.model for pair in pairs]
    assert "transformer" in taken
    assert pairs[0].name not in ("eager", "auto") or taken == list(MODELS)


def test_a_beam_as_wide_as_the_space_finds_the_optimum(pairs: list[Pair]) -> None:
    for pair in pairs:
        batch, scorer = pair.batch(2), pair.reference()
        for row in range(2):
            single = one_row(batch, row)
            first = forced(scorer, single, 0, [])[0]
            usable = [token for token in range(len(first)) if token not in (PAD, BOS, EOS)]
            # The log-probabilities of all outputs of at most one token.
            space = {(): first[EOS]} | {(token,): log_prob(scorer, single, 0, [token]) for token in usable}
            options = SearchConfig(beam=len(space), max_length_ratio=0.0, max_length_extra=1)
            found = answer(pair, single, options)
            best = tuple(outputs(found, 0)[0])
            optimum = max(value / (len(tokens) + 1) for tokens, value in space.items())
            assert space[best] / (len(best) + 1) >= optimum - (0 if pair.is_exact else pair.tolerance), pair
            assert float(found.scores[0, 0]) == pytest.approx(optimum, abs=pair.tolerance), pair


BEGUN = torch.tensor([[6, 5], [7, PAD], [PAD, PAD], [9, 9]])


@pytest.mark.parametrize("beam", [1, 4])
@pytest.mark.parametrize(
    ("prefixes", "own"),
    [
        (BEGUN[:, :0], {"normalisation": "none"}),
        (BEGUN, {"normalisation": "gnmt"}),
        (BEGUN, {"normalisation": "average", "min_length": 2, "no_repeat_ngram": 2, "unknown": False}),
    ],
    ids=["plain sums", "prefixes", "wishes"],
)
def test_the_reported_score_is_that_of_the_forced_tokens(
    pairs: list[Pair], prefixes: Tensor, own: dict[str, Any], beam: int
) -> None:
    options = SearchConfig(beam=beam, n_best=beam, length_penalty=0.7, **(SHORT | own))
    for pair in pairs:
        batch = pair.batch(4)
        found = answer(pair, batch, options, prefixes)
        for row in range(4):
            assert outputs(found, row)
            for rank, tokens in enumerate(outputs(found, row)):
                expected = log_prob(pair.reference(), batch, row, tokens)
                assert float(found.log_probs[row, rank]) == pytest.approx(expected, abs=pair.tolerance), pair
                score = float(found.log_probs[row, rank]) / divisor(float(len(tokens) + 1), options)
                assert float(found.scores[row, rank]) == pytest.approx(score, abs=1e-4), pair


class Forbidden:
    """Take tokens away: a processor that no engine knows."""

    def __init__(self, tokens: list[int]) -> None:
        self.tokens = tokens

    def start(self, source: object) -> None:
        return None

    def apply(self, log_probs: Tensor, history: Tensor, state: None) -> Tensor:
        log_probs[:, self.tokens] = float("-inf")
        return log_probs

    def advance(self, state: None, parents: Tensor, tokens: Tensor) -> None:
        return None


WISHES: dict[str, dict[str, Any]] = {
    "nothing": {},
    "shortest": {"min_length": 4},
    "longest": {"max_length_ratio": 0.5, "max_length_extra": 1},
    "of one length": {"min_length": 3, "max_length_ratio": 0.0, "max_length_extra": 0},
    "no token twice": {"no_repeat_ngram": 1},
    "no pair twice": {"no_repeat_ngram": 2, "min_length": 5},
    "nothing unknown": {"unknown": False},
    "all": {"min_length": 3, "no_repeat_ngram": 2, "unknown": False, "max_length_extra": 5, "max_length_ratio": 0.0},
}


@pytest.mark.parametrize("beam", [1, 3])
@pytest.mark.parametrize("name", WISHES)
def test_constraints_hold_in_every_answer(pairs: list[Pair], name: str, beam: int) -> None:
    options = SearchConfig(beam=beam, n_best=beam, **(SHORT | WISHES[name]))
    begun = torch.tensor([[6, 5], [7, PAD], [PAD, PAD], [9, 8]])
    for pair in pairs:
        batch = pair.batch(4)
        limits = max_lengths(batch.lengths, options).tolist()
        for prefixes, banned in itertools.product((begun, begun[:, :0]), ([], [4, 10])):
            found = answer(pair, batch, options, prefixes, processors=[Forbidden(banned)] if banned else [])
            for row in range(4):
                wanted = [token for token in prefixes[row].tolist() if token != PAD]
                assert outputs(found, row), pair
                for tokens in outputs(found, row):
                    assert tokens[: len(wanted)] == wanted[: limits[row]], pair
                    assert options.min_length <= len(tokens) <= limits[row], pair
                    assert not {PAD, BOS, EOS, *banned} & set(tokens), pair
                    assert options.unknown or UNK not in tokens, pair
                    size = options.no_repeat_ngram
                    windows = [tuple(tokens[place : place + size]) for place in range(len(tokens) - size + 1)]
                    assert not size or len(windows) == len(set(windows)), pair


def test_greedy_search_takes_the_likeliest_token_at_each_step(pairs: list[Pair]) -> None:
    options = SearchConfig(beam=1, **SHORT)
    for pair in pairs:
        batch = pair.batch(6)
        together = answer(pair, batch, options)
        for row in range(6):
            single, tokens = one_row(batch, row), list[int]()
            while len(tokens) < 6:
                scores = forced(pair.reference(), single, 0, tokens)[-1]
                likeliest = max(
                    (token for token in range(len(scores)) if token not in (PAD, BOS)), key=scores.__getitem__
                )
                if likeliest == EOS:
                    break
                tokens.append(likeliest)
            assert outputs(answer(pair, single, options), 0) == [tokens], pair
            # Where numbers are rounded, neighbours may tip the balance between two tokens.
            assert not pair.is_exact or outputs(together, row) == [tokens], pair


@pytest.mark.parametrize("normalisation", ["average", "gnmt", "none"])
def test_the_best_outputs_are_distinct_and_sorted(pairs: list[Pair], normalisation: str) -> None:
    options = SearchConfig(beam=5, n_best=5, normalisation=normalisation, **SHORT)
    for pair in pairs:
        batch = pair.batch(5)
        found = answer(pair, batch, options)
        best = answer(pair, batch, options.model_copy(update={"n_best": 1}))
        for row in range(5):
            ranked = outputs(found, row)
            assert len(ranked) == len(set(map(tuple, ranked))) == 5, pair
            scores = found.scores[row].tolist()
            assert scores == sorted(scores, reverse=True), pair
            assert not any(math.isnan(score) for score in scores)
            assert outputs(best, row) == ranked[:1], pair


def test_alone_equals_in_a_batch(pairs: list[Pair]) -> None:
    options = SearchConfig(beam=3, max_length_ratio=1.0, max_length_extra=3)
    for pair in pairs:
        batch = pair.batch(7)
        together = answer(pair, batch, options)
        for row in range(7):
            assert_alike(pair, answer(pair, one_row(batch, row), options), 0, together, row)


def assert_alike(pair: Pair, one: Hypotheses, row: int, other: Hypotheses, place: int) -> None:
    """Compare the answers of two searches; where numbers are rounded another output may win by a little."""
    if pair.is_exact:
        assert outputs(one, row) == outputs(other, place), pair
    assert one.scores[row].tolist() == pytest.approx(other.scores[place].tolist(), abs=pair.tolerance), pair


WISH_OF_ROW: tuple[dict[str, int], ...] = (
    {"max_length_extra": 3},
    {"min_length": 4, "max_length_extra": 9},
    {"no_repeat_ngram": 1, "max_length_extra": 7},
    {"no_repeat_ngram": 2, "min_length": 6, "max_length_extra": 8},
    {"max_length_extra": 0},
    {"min_length": 2, "no_repeat_ngram": 3, "max_length_extra": 12},
)
PREFIXES = torch.tensor([[5, 6, 7], [PAD, PAD, PAD], [8, PAD, PAD], [4, 4, PAD], [PAD, PAD, PAD], [9, 5, PAD]])


def wishes_of(row: int, prefixes: Tensor) -> list[Processor]:
    """Return the processors that one row's settings ask for, of the same kinds for all."""
    own = WISH_OF_ROW[row]
    return [
        ForcedPrefix(prefixes),
        Yielding(NoRepeat(own.get("no_repeat_ngram", 0))),
        Yielding(MinimumLength(own.get("min_length", 0))),
    ]


@pytest.mark.parametrize("beam", [1, 4])
@pytest.mark.parametrize("at", [0, 2])
def test_a_sentence_that_joins_gets_what_the_engine_answers_to_it_alone(pairs: list[Pair], beam: int, at: int) -> None:
    """Law 15: sentences with limits, prefixes and wishes of their own join one after the other, some steps apart.

    What they get is compared with the engine's whole search, so that one with a search of its own is held to it.
    """
    plain = SearchConfig(beam=beam, n_best=beam)
    for pair in pairs:
        batch = pair.batch(len(WISH_OF_ROW))
        settings = [plain.model_copy(update={"max_length_ratio": 0.0} | own) for own in WISH_OF_ROW]
        found = joined_one_by_one(pair, batch, settings, at)
        for row, options in enumerate(settings):
            assert_alike(pair, alone(pair, batch, row, options), 0, found, row)


def alone(pair: Pair, batch: SearchBatch, row: int, options: SearchConfig) -> Hypotheses:
    """Search one sentence by its own settings, in the engine's own search if it has one that prunes as calque does."""
    own, prefix = one_row(batch, row), PREFIXES[row : row + 1]
    has_wishes = options.min_length or options.no_repeat_ngram
    if has_wishes and options.beam > 1 and pair.name in OTHER_BEAMS_UNDER_WISHES:
        unwished = options.model_copy(update={"min_length": 0, "no_repeat_ngram": 0})
        found = answer(pair, own, unwished, processors=wishes_of(row, prefix))
    else:
        found = answer(pair, own, options, prefix[:, : int((prefix > 0).sum())])
    return found


@torch.inference_mode()
def joined_one_by_one(pair: Pair, batch: SearchBatch, settings: list[SearchConfig], at: int) -> Hypotheses:
    """Search the first sentence, and admit each other one `at` steps after the one before."""
    admissions = []
    for row, options in enumerate(settings):
        own = one_row(batch, row)
        limits = max_lengths(own.lengths, options)
        admissions.append(Admission(own.record, limits, wishes_of(row, PREFIXES[row : row + 1])))
    first, *others = admissions
    generator = steps(pair.engine.scorer(), first.source, settings[0], first.limits, first.processors)
    step = next(generator)
    try:
        for other in others:
            step = generator.send(Change(admit=other))
            for _ in range(at):
                # Where nothing lives, a search ends unless others join at once.
                step = step if step.finished.all() else next(generator)
        while True:
            next(generator)
    except StopIteration as stop:
        hypotheses: Hypotheses = stop.value
        return hypotheses
