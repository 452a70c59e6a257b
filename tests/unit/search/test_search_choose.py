"""A `choose` of one's own, and sentences that join between two steps."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from search_toys import EOS, hashed, markov
from test_search_beam import assert_same, drain, finish, outputs, row_of
from torch import Tensor

from calque.errors import UsageError
from calque.search.choose import Branches, Greedy
from calque.search.options import SearchConfig
from calque.search.processors import ForcedPrefix, MinimumLength, NoRepeat, Processor, Yielding
from calque.search.steps import Admission, Change, steps


@dataclass(frozen=True)
class SecondBest(Greedy):
    """Take the second-best token at the steps whose number a sentence's own state counts as odd."""

    def start(self, num_sentences: int) -> Tensor:
        return torch.zeros(num_sentences, dtype=torch.int64)

    def branch(self, scores: Tensor, sums: Tensor, state: Tensor) -> tuple[Branches, Tensor]:
        best = scores.flatten(1).topk(2)
        # At its limit a sentence has one possible token: </s>.
        rank = (state % 2).unsqueeze(1).where(best.values[:, 1:] > float("-inf"), 0)
        token, total = best.indices.gather(1, rank), best.values.gather(1, rank)
        ends = token == EOS
        hidden = torch.full_like(total, float("-inf"))
        chosen = Branches(torch.zeros_like(token), token, total.where(~ends, hidden), total.where(ends, hidden))
        return chosen, state + 1


def second_best(score, row: int, limit: int) -> list[int]:
    """The same in plain Python."""
    tokens: list[int] = []
    while len(tokens) < limit:
        log_probs = score(row, tuple(tokens))
        order = sorted((token for token in range(len(log_probs)) if token not in (0, 2)), key=lambda it: -log_probs[it])
        token = order[len(tokens) % 2]
        if token == EOS:
            break
        tokens.append(token)
    return tokens


def test_a_choose_of_ones_own_decides() -> None:
    scorer, source = hashed(7, rows=20, vocabulary=12, sharpness=2.0)
    limits = torch.arange(20) % 7
    found = drain(scorer, source, SearchConfig(beam=1), limits, choose=SecondBest())
    for row in range(20):
        assert outputs(found, row)[0] == second_best(scorer.plain(source), row, int(limits[row]))
    assert outputs(found, 6)[0] != outputs(drain(scorer, source, SearchConfig(beam=1), limits), 6)[0]


@pytest.mark.parametrize("toy", [hashed, markov])
@pytest.mark.parametrize("beam", [1, 4])
@pytest.mark.parametrize("at", [0, 1, 3, 6])
def test_sentences_that_join_get_what_they_get_alone(toy, beam, at) -> None:
    """Two groups join a running search, one right after the other, each with limits of its own."""
    scorer, source = toy(11, rows=24, vocabulary=30, sharpness=2.0)
    limits = torch.arange(24) % 11
    options = SearchConfig(beam=beam, n_best=beam)
    generator = steps(scorer, source[:9], options, limits[:9])
    for _ in range(at):
        next(generator)
    next(generator)
    generator.send(Change(admit=Admission(source[9:17], limits[9:17])))
    generator.send(Change(admit=Admission(source[17:], limits[17:])))
    found = finish(generator)
    for row in range(24):
        alone = drain(scorer, source[row : row + 1], options, limits[row : row + 1])
        assert_same(alone, row_of(found, row))


def test_each_row_has_processors_of_its_own() -> None:
    scorer, source = hashed(13, rows=12, vocabulary=9, sharpness=1.0)
    options = SearchConfig(beam=3, n_best=3)
    limits = torch.full([12], 8)
    prefixes = torch.randint(4, 9, [12, 2], generator=torch.Generator().manual_seed(1))

    def processors(rows: slice) -> list:
        return [ForcedPrefix(prefixes[rows]), MinimumLength(4), NoRepeat(2)]

    generator = steps(scorer, source[:5], options, limits[:5], processors(slice(0, 5)))
    for _ in range(3):
        next(generator)
    generator.send(Change(admit=Admission(source[5:], limits[5:], processors(slice(5, 12)))))
    found = finish(generator)
    for row in range(12):
        one = slice(row, row + 1)
        assert_same(drain(scorer, source[one], options, limits[one], processors(one)), row_of(found, row))
        assert outputs(found, row)[0][:2] == prefixes[row].tolist()


def test_sentences_may_join_a_search_with_settings_of_their_own() -> None:
    """The processors of each group are of the same kinds, with other lengths; 0 asks for nothing."""
    scorer, source = hashed(13, rows=12, vocabulary=7, sharpness=1.0)
    options = SearchConfig(beam=3, n_best=3)
    limits = torch.full([12], 9)
    groups = ((slice(0, 4), 2, 0), (slice(4, 7), 0, 6), (slice(7, 10), 1, 3), (slice(10, 12), 3, 8))

    def processors(size: int, least: int) -> list[Processor]:
        return [Yielding(NoRepeat(size)), Yielding(MinimumLength(least))]

    (first, *settings), *others = groups
    generator = steps(scorer, source[first], options, limits[first], processors(*settings))
    next(generator)
    for rows, *settings in others:
        generator.send(Change(admit=Admission(source[rows], limits[rows], processors(*settings))))
        next(generator)
    found = finish(generator)
    for rows, size, least in groups:
        for row in range(12)[rows]:
            one = slice(row, row + 1)
            assert_same(drain(scorer, source[one], options, limits[one], processors(size, least)), row_of(found, row))
            for output in outputs(found, row):
                # Three tokens and <unk>, each once, are fewer than the least.
                assert len(output) >= (least if size != 1 else 0)
                windows = [tuple(output[place : place + size]) for place in range(len(output) - size + 1)]
                assert not size or len(windows) == len(set(windows))


class Stateless:
    """A processor whose setting is not in its state."""

    def __init__(self, token: int) -> None:
        self.token = token

    def start(self, source: Tensor) -> None:
        return None

    def apply(self, log_probs: Tensor, history: Tensor, state: None) -> Tensor:
        log_probs[:, self.token] = float("-inf")
        return log_probs

    def advance(self, state: None, parents: Tensor, tokens: Tensor) -> None:
        return None


SAME = Stateless(5)


@pytest.mark.parametrize(
    ("running", "joining", "message"),
    [
        ([], [MinimumLength(2)], "the processors none, and the sentences that join have MinimumLength"),
        ([MinimumLength(2)], [], "MinimumLength, and the sentences that join have none"),
        ([NoRepeat(2), MinimumLength(2)], [MinimumLength(2), NoRepeat(2)], "same order"),
        ([Yielding(NoRepeat(2))], [Yielding(MinimumLength(2))], r"Yielding\(NoRepeat\)"),
        ([Stateless(5)], [Stateless(6)], "Stateless has no state"),
        ([SAME], [SAME], None),
    ],
)
def test_processors_that_cannot_join_are_refused(running: Any, joining: Any, message: str | None) -> None:
    scorer, source = hashed(13, rows=4, vocabulary=9, sharpness=1.0)
    generator = steps(scorer, source[:2], SearchConfig(beam=2), torch.full([2], 5), running)
    next(generator)
    change = Change(admit=Admission(source[2:], torch.full([2], 5), joining))
    if message is None:
        generator.send(change)
        found = finish(generator)
        assert all(SAME.token not in output for row in range(4) for output in outputs(found, row))
        return
    with pytest.raises(UsageError, match=message):
        generator.send(change)


def test_sentences_with_lower_limits_may_join_when_all_others_have_finished() -> None:
    scorer, source = hashed(17, rows=4, vocabulary=20)
    options, limits = SearchConfig(beam=2, n_best=2), torch.tensor([9, 9, 2, 3])
    generator = steps(scorer, source[:2], options, limits[:2])
    step = next(generator)
    while not step.finished.all():
        step = next(generator)
    generator.send(Change(admit=Admission(source[2:], limits[2:])))
    found = finish(generator)
    for row in range(4):
        one = slice(row, row + 1)
        assert_same(drain(scorer, source[one], options, limits[one]), row_of(found, row))


def test_sentences_may_join_when_all_others_have_finished() -> None:
    scorer, source = hashed(17, rows=6, vocabulary=20)
    options = SearchConfig(beam=2)
    limits = torch.tensor([0, 0, 0, 5, 6, 7])
    generator = steps(scorer, source[:3], options, limits[:3])
    assert next(generator).finished.all()
    generator.send(Change(admit=Admission(source[3:], limits[3:])))
    found = finish(generator)
    for row in range(6):
        one = slice(row, row + 1)
        assert_same(drain(scorer, source[one], options, limits[one]), row_of(found, row))


def test_one_change_may_give_up_and_admit() -> None:
    scorer, source = hashed(19, rows=8, vocabulary=20)
    options, limits = SearchConfig(beam=2), torch.full([8], 9)
    generator = steps(scorer, source[:4], options, limits[:4])
    next(generator)
    step = generator.send(Change(torch.tensor([0, 2]), Admission(source[4:], limits[4:])))
    assert step.rows.tolist() == [1, 3, 4, 5, 6, 7]
    found = finish(generator)
    for row in (1, 3, 4, 5, 6, 7):
        one = slice(row, row + 1)
        assert_same(drain(scorer, source[one], options, limits[one]), row_of(found, row))
