"""Laws 3, 4, 5, 6 and 8 over ensembles of different models: other source tokens, the same target tokens."""

import itertools
import math
import random
from dataclasses import replace

import pytest
import torch
from parts import VOCAB_SIZE, target, unpadded
from torch import Tensor

from calque import rows
from calque.batch import Batch, Source
from calque.data.collate import collate_sources
from calque.engines.ensemble import Ensemble
from calque.errors import UsageError
from calque.ids import BOS, EOS, PAD, UNK
from calque.model import ModelConfig, Seq2Seq, build
from calque.search.options import SearchConfig
from calque.search.processors import ForcedPrefix
from calque.search.steps import search
from calque.text.sharing import SharedSource, share_forms
from calque.text.source import SourceIds

TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}
LSTM = {"kind": "lstm", "layers": 2, "width": 12}
GRU = {"kind": "gru", "layers": 1, "width": 8}
TRANSFORMER = {"kind": "transformer", "layers": 2, "width": 12, "heads": 3, "feed_forward": 20}
COVERED = GRU | {"attention": {"kind": "additive", "coverage": True}}
# Section of the recipe, number of source tokens.
MEMBERS = {
    "lstm": ({"encoder": LSTM, "decoder": LSTM}, 9),
    "blind": ({"encoder": GRU, "decoder": GRU | {"attention": {"kind": "none"}}}, 15),
    "transformer": ({"encoder": TRANSFORMER, "decoder": TRANSFORMER}, 17),
    "pointer": ({"encoder": GRU, "decoder": COVERED, "head": {"kind": "pointer"}}, 11),
    "hybrid-pointer": ({"encoder": LSTM, "decoder": TRANSFORMER, "head": {"kind": "pointer"}}, 14),
}
ENSEMBLES = (("lstm", "transformer"), ("blind", "transformer", "lstm"), ("pointer", "hybrid-pointer", "transformer"))
# One case of each space and every kind of member; the rest is marked slow.
FAST = ((ENSEMBLES[0], "log"), (ENSEMBLES[2], "prob"))
CASES = [
    pytest.param(names, space, id="+".join((*names, space)), marks=[] if (names, space) in FAST else [pytest.mark.slow])
    for names in (*ENSEMBLES, ("transformer",))
    for space in ("prob", "log")
]
each_case = pytest.mark.parametrize(("names", "space"), CASES)


def member(name: str, seed: int) -> Seq2Seq:
    """Build a member with weights large enough that its distributions are not flat."""
    section, source_vocab_size = MEMBERS[name]
    torch.manual_seed(seed)
    made = build(ModelConfig.model_validate(section), source_vocab_size, VOCAB_SIZE)
    with torch.no_grad():
        made.head.projection.weight.mul_(3.0)
    return made.eval()


def ensemble(names: tuple[str, ...], space: str, seed: int = 0) -> Ensemble:
    """Join members."""
    return Ensemble([member(name, seed + number) for number, name in enumerate(names)], space)


def sentences(names: tuple[str, ...], seed: int, num_rows: int = 4, longest: int = 6) -> list[SharedSource]:
    """Return sentences; members cut each into pieces of their own, and those that copy know its words in any order."""
    draws = random.Random(seed)

    def read(name: str, words: list[str]) -> SourceIds:
        size = MEMBERS[name][1]
        tokens = [draws.randrange(4, size) for _ in range(draws.randint(1, longest))]
        if "pointer" not in name:
            return SourceIds(tokens)
        forms = tuple(draws.sample(words, len(words)))
        return SourceIds(tokens, [draws.randrange(4, VOCAB_SIZE + len(forms)) for _ in tokens], forms)

    made = []
    for _ in range(num_rows):
        words = [f"word-{number}" for number in range(draws.randint(0, 2))]
        made.append(share_forms(tuple(read(name, words) for name in names), VOCAB_SIZE))
    return made


def collated(sources: list[SharedSource]) -> tuple[Source, ...]:
    """Return the record that an ensemble reads."""
    return tuple(collate_sources(own, VOCAB_SIZE) for own in zip(*(source.members for source in sources), strict=True))


def alone(source: tuple[Source, ...], row: int) -> tuple[Source, ...]:
    """Return one sentence of a batch without padding."""
    return tuple(unpadded(part, row) for part in source)


def lengths(source: tuple[Source, ...]) -> Tensor:
    """Return the source lengths that search goes by."""
    return source[0].mask.sum(1)


def naive(net: Ensemble, space: str, source: tuple[Source, ...], tokens: list[int]) -> list[list[float]]:
    """Return the ensemble's log-probabilities [T + 1, V + X] from its members' parallel passes, number by number."""
    members = []
    for own, part in zip(net.members, source, strict=True):
        known = tokens if own.head.reads_attention else [UNK if token >= VOCAB_SIZE else token for token in tokens]
        if part.forms is not None:
            # The target may hold forms of other members.
            width = max([part.forms.shape[1], *(token + 1 - VOCAB_SIZE for token in tokens)])
            part = replace(part, forms=torch.nn.functional.pad(part.forms, (0, width - part.forms.shape[1])))
        members.append(own(Batch(part, target(known))).log_probs().tolist())
    combined = []
    for places in zip(*members, strict=True):
        width = max(map(len, places))
        columns = zip(*(place + [-math.inf] * (width - len(place)) for place in places), strict=True)
        if space == "prob":
            mixed = [sum(map(math.exp, column)) / len(column) for column in columns]
        else:
            mixed = [math.exp(sum(column) / len(column)) for column in columns]
            mixed = [value / sum(mixed) for value in mixed]
        combined.append([math.log(value) if value > 0 else -math.inf for value in mixed])
    return combined


def score(net: Ensemble, space: str, source: tuple[Source, ...], tokens: list[int]) -> float:
    """Score an output with </s>."""
    return sum(row[token] for row, token in zip(naive(net, space, source, tokens), [*tokens, EOS], strict=True))


def scan(net: Ensemble, source: tuple[Source, ...], tokens: Tensor) -> Tensor:
    """Return log-probabilities [B, T, V + X], one step after the other."""
    context, state = net.start(source)
    scores = []
    for token in tokens.unbind(1):
        log_probs, state = net.step(token, state, context)
        scores.append(log_probs)
    return torch.stack(scores, dim=1)


def outputs(hypotheses, row: int) -> list[list[int]]:
    """Return the token lists of one sentence's hypotheses, best first."""
    return [
        hypotheses.tokens[row, rank, : int(hypotheses.lengths[row, rank])].tolist()
        for rank in range(hypotheses.tokens.shape[1])
        if hypotheses.scores[row, rank] > float("-inf")
    ]


@each_case
@torch.no_grad()
def test_probabilities_sum_to_one(names: tuple[str, ...], space: str) -> None:
    source = collated(sentences(names, seed=1))
    tokens = torch.tensor([[2, 5, 6], [2, 7, 8], [2, 4, 4], [2, 12, 9]])
    scores = scan(ensemble(names, space), source, tokens)
    torch.testing.assert_close(scores.exp().sum(-1), torch.ones(scores.shape[:2]), **TOLERANCE)


@each_case
@torch.no_grad()
def test_the_distribution_is_the_mean_of_the_members(names: tuple[str, ...], space: str) -> None:
    net = ensemble(names, space)
    source = collated(sentences(names, seed=2))
    width = max([VOCAB_SIZE, *(VOCAB_SIZE + part.forms.shape[1] for part in source if part.forms is not None)])
    tokens = [5, width - 1, 7]
    for row in range(4):
        part = alone(source, row)
        history = torch.tensor([[BOS, *tokens]])
        expected = torch.tensor(naive(net, space, part, tokens))[:, :width]
        found = scan(net, part, history)[0]
        torch.testing.assert_close(found, expected[:, : found.shape[1]], **TOLERANCE)


@each_case
@torch.no_grad()
def test_a_beam_as_wide_as_the_space_finds_the_optimum(names: tuple[str, ...], space: str) -> None:
    net = ensemble(names, space)
    source = alone(collated(sentences(names, seed=3)), 0)
    columns = scan(net, source, torch.tensor([[BOS]])).shape[2]
    usable = [token for token in range(columns) if token not in (PAD, BOS, EOS)]
    possible = [list(tokens) for length in range(3) for tokens in itertools.product(usable, repeat=length)]
    options = SearchConfig(beam=len(possible), max_length_ratio=0.0, max_length_extra=2)
    best = max(possible, key=lambda tokens: score(net, space, source, tokens) / (len(tokens) + 1))
    assert outputs(search(net, source, lengths(source), options), 0)[0] == best


@each_case
@torch.no_grad()
def test_the_reported_score_is_the_ensembles(names: tuple[str, ...], space: str) -> None:
    net = ensemble(names, space, seed=2)
    source = collated(sentences(names, seed=4))
    options = SearchConfig(beam=4, n_best=3, max_length_ratio=1.0, max_length_extra=4)
    found = search(net, source, lengths(source), options)
    copied = 0
    for row in range(4):
        for rank, tokens in enumerate(outputs(found, row)):
            expected = score(net, space, alone(source, row), tokens)
            assert float(found.log_probs[row, rank]) == pytest.approx(expected, abs=1e-4)
            assert float(found.scores[row, rank]) == pytest.approx(expected / (len(tokens) + 1), abs=1e-4)
            copied += any(token >= VOCAB_SIZE for token in tokens)
    assert copied or space == "log" or "pointer" not in names


@each_case
@torch.no_grad()
def test_select_commutes_with_step(names: tuple[str, ...], space: str) -> None:
    net = ensemble(names, space)
    source = collated(sentences(names, seed=5))
    wanted = torch.tensor([2, 0])
    tokens = torch.tensor([[2, 5], [2, 6], [2, 7], [2, 8]])
    context, state = net.start(source)
    _, state = net.step(tokens[:, 0], state, context)
    kept = rows.select(context, wanted)
    beam = rows.select(state, wanted.repeat_interleave(2))
    _, after = net.step(tokens[wanted, 1].repeat_interleave(2), beam, kept)
    swapped = rows.select(after, torch.tensor([1, 0, 3, 2]))
    third, _ = net.step(torch.tensor([5, 6, 7, 8]), swapped, kept)
    for row, token in enumerate((5, 6, 7, 8)):
        sentence = int(wanted[row // 2])
        history = torch.tensor([[*tokens[sentence].tolist(), token]])
        expected = scan(net, rows.select(source, torch.tensor([sentence])), history)[0, 2]
        torch.testing.assert_close(third[row], expected, **TOLERANCE)


@each_case
@torch.no_grad()
def test_a_row_that_joins_later_scores_as_alone(names: tuple[str, ...], space: str) -> None:
    net = ensemble(names, space)
    early, late = collated(sentences(names, seed=6, num_rows=2)), collated(sentences(names, seed=7, num_rows=1))
    tokens = torch.tensor([[2, 5, 6, 7], [2, 8, 9, 4]])
    context, state = net.start(early)
    for time in range(2):
        _, state = net.step(tokens[:, time], state, context)
    late_context, late_state = net.start(late)
    context, state = rows.join([context, late_context]), rows.join([state, late_state])
    first, state = net.step(torch.cat([tokens[:, 2], torch.tensor([2])]), state, context)
    second, _ = net.step(torch.cat([tokens[:, 3], torch.tensor([11])]), state, context)
    expected_early, expected_late = scan(net, early, tokens), scan(net, late, torch.tensor([[2, 11]]))
    for scores, early_place, late_place in ((first, 2, 0), (second, 3, 1)):
        for row, expected in enumerate((*expected_early[:, early_place], expected_late[0, late_place])):
            # What a sentence has no form for it cannot produce.
            wanted = torch.nn.functional.pad(expected, (0, scores.shape[1] - len(expected)), value=float("-inf"))
            torch.testing.assert_close(scores[row], wanted, **TOLERANCE)


@each_case
@torch.no_grad()
def test_prefix_minimum_length_and_no_repeat_hold(names: tuple[str, ...], space: str) -> None:
    net = ensemble(names, space, seed=4)
    source = collated(sentences(names, seed=8))
    prefix = torch.tensor([[6, 5], [7, PAD], [PAD, PAD], [9, 9]])
    options = SearchConfig(beam=3, n_best=3, min_length=4, no_repeat_ngram=2, max_length_ratio=0.0, max_length_extra=7)
    found = search(net, source, lengths(source), options, [ForcedPrefix(prefix)])
    for row in range(4):
        wanted = [token for token in prefix[row].tolist() if token != PAD]
        hypotheses = outputs(found, row)
        assert hypotheses
        for tokens in hypotheses:
            assert tokens[: len(wanted)] == wanted
            assert len(tokens) >= 4
            windows = list(itertools.pairwise(tokens))
            assert len(windows) == len(set(windows))


@each_case
@torch.no_grad()
def test_alone_in_search_equals_in_a_batch(names: tuple[str, ...], space: str) -> None:
    net = ensemble(names, space, seed=5)
    source = collated(sentences(names, seed=9, num_rows=5))
    options = SearchConfig(beam=3, max_length_ratio=1.0, max_length_extra=3)
    together = search(net, source, lengths(source), options)
    for row in range(5):
        part = alone(source, row)
        assert outputs(search(net, part, lengths(part), options), 0) == outputs(together, row)


@pytest.mark.parametrize("name", MEMBERS)
@pytest.mark.parametrize("space", ["prob", "log"])
@pytest.mark.parametrize("number", [1, 2, 3])
@torch.no_grad()
def test_an_ensemble_of_equals_is_the_model(name: str, space: str, number: int) -> None:
    net = member(name, seed=1)
    source = collated(sentences((name,), seed=10))
    tokens = torch.tensor([[2, 5, 6], [2, 7, 8], [2, 4, 4], [2, 12, 9]])
    expected = scan(Ensemble([net], space), source, tokens)
    context, state = net.start(source[0])
    for time in range(3):
        log_probs, state = net.step(tokens[:, time], state, context)
        torch.testing.assert_close(expected[:, time], log_probs, **TOLERANCE)
    found = scan(Ensemble([net] * number, space), source * number, tokens)
    torch.testing.assert_close(found, expected, **TOLERANCE)


def test_other_numbers_of_target_tokens_are_refused() -> None:
    section, _ = MEMBERS["lstm"]
    other = build(ModelConfig.model_validate(section), 9, VOCAB_SIZE + 1)
    with pytest.raises(UsageError, match=r"target vocabulary.*\[13, 14\]"):
        Ensemble([member("lstm", 0), other])
