"""Beam search held to enumeration, to plain Python and to the scorer's own word."""

import math

import pytest
import torch
from search_toys import EOS, PAD, divide, enumerate_all, hashed, log_prob, markov, plain_beam, plain_greedy
from torch import Tensor

from calque.search.choose import Beam
from calque.search.hypotheses import Hypotheses
from calque.search.options import SearchConfig
from calque.search.steps import Change, search, steps

TOYS = [markov, hashed]
NORMALISATIONS = [("average", 1.0), ("average", 0.6), ("average", -0.5), ("gnmt", 0.8), ("none", 1.0)]


def drain(scorer, source, options, limits, processors=(), choose=None) -> Hypotheses:
    return finish(steps(scorer, source, options, torch.as_tensor(limits), processors, choose))


def finish(generator) -> Hypotheses:
    while True:
        try:
            next(generator)
        except StopIteration as stop:
            return stop.value


def outputs(hypotheses: Hypotheses, row: int) -> list[list[int]]:
    pairs = zip(hypotheses.tokens[row], hypotheses.lengths[row].tolist(), strict=True)
    return [tokens[:length].tolist() for tokens, length in pairs]


def assert_same(one: Hypotheses, other: Hypotheses) -> None:
    assert torch.equal(one.lengths, other.lengths)
    assert torch.equal(one.tokens, other.tokens)
    assert torch.equal(one.scores, other.scores)
    assert torch.equal(one.log_probs, other.log_probs)


def row_of(hypotheses: Hypotheses, row: int) -> Hypotheses:
    lengths = hypotheses.lengths[row : row + 1]
    tokens = hypotheses.tokens[row : row + 1, :, : int(lengths.max())]
    return Hypotheses(tokens, lengths, hypotheses.scores[row : row + 1], hypotheses.log_probs[row : row + 1])


@pytest.mark.parametrize("toy", TOYS)
@pytest.mark.parametrize(("normalisation", "alpha"), NORMALISATIONS)
def test_a_beam_as_wide_as_the_space_finds_the_exhaustive_optimum(toy, normalisation, alpha) -> None:
    scorer, source = toy(3, rows=4, vocabulary=6, sharpness=1.5)
    limits = [4, 0, 2, 3]
    options = SearchConfig(beam=110, n_best=9, normalisation=normalisation, length_penalty=alpha)
    found = drain(scorer, source, options, limits)
    for row, limit in enumerate(limits):
        best = enumerate_all(scorer.plain(source), row, limit, 6, options)[:9]
        if toy is hashed:  # outputs of the other are equal in score when they hold the same transitions
            assert outputs(found, row)[: len(best)] == [list(output) for _, output in best]
        torch.testing.assert_close(found.scores[row, : len(best)], torch.tensor([score for score, _ in best]))
        # What the space does not hold is marked.
        assert (found.scores[row, len(best) :] == float("-inf")).all()
        assert not found.lengths[row, len(best) :].any()


@pytest.mark.parametrize("toy", TOYS)
@pytest.mark.parametrize("beam", [1, 2, 5])
@pytest.mark.parametrize(("normalisation", "alpha"), NORMALISATIONS)
def test_reported_scores_are_the_scorers(toy, beam, normalisation, alpha) -> None:
    scorer, source = toy(5, rows=6, vocabulary=12, sharpness=2.0)
    limits = [9, 1, 4, 12, 0, 7]
    options = SearchConfig(beam=beam, n_best=beam, normalisation=normalisation, length_penalty=alpha)
    found = drain(scorer, source, options, limits)
    for row, limit in enumerate(limits):
        for place, output in enumerate(outputs(found, row)):
            if found.scores[row, place] == float("-inf"):
                continue
            expected = log_prob(scorer.plain(source), row, output)
            assert len(output) <= limit
            assert found.log_probs[row, place].item() == pytest.approx(expected, abs=1e-5)
            assert found.scores[row, place].item() == pytest.approx(
                divide(expected, len(output) + 1, options), abs=1e-5
            )


@pytest.mark.parametrize("toy", TOYS)
@pytest.mark.parametrize("vocabulary", [7, 700])
def test_beam_of_one_is_greedy(toy, vocabulary) -> None:
    scorer, source = toy(7, rows=20, vocabulary=vocabulary, sharpness=3.0)
    limits = [(row * 7) % 15 for row in range(20)]
    found = drain(scorer, source, SearchConfig(beam=1), limits)
    greedy = [[plain_greedy(scorer.plain(source), row, limit)] for row, limit in enumerate(limits)]
    assert [outputs(found, row) for row in range(20)] == greedy


@pytest.mark.parametrize("seed", [11, 12, 13])
@pytest.mark.parametrize("beam", [2, 4])
@pytest.mark.parametrize(("normalisation", "alpha"), [("average", 1.0), ("average", 0.5), ("gnmt", 1.0)])
def test_equals_a_beam_search_of_lists(seed, beam, normalisation, alpha) -> None:
    # n_best = beam: the certain bound then never stops before the likely one.
    scorer, source = hashed(seed, rows=12, vocabulary=9, sharpness=2.0)
    options = SearchConfig(beam=beam, n_best=beam, normalisation=normalisation, length_penalty=alpha)
    found = drain(scorer, source, options, [10] * 12)
    for row in range(12):
        expected = plain_beam(scorer.plain(source), row, 10, options)
        assert outputs(found, row)[: len(expected)] == [list(output) for _, output in expected]


@pytest.mark.parametrize("beam", [1, 3])
def test_a_batch_equals_each_alone(beam) -> None:
    scorer, source = hashed(13, rows=24, vocabulary=150, sharpness=3.0)
    lengths = torch.arange(24) % 9
    options = SearchConfig(beam=beam, n_best=beam, max_length_extra=3, no_repeat_ngram=2, min_length=2)
    together = search(scorer, source, lengths, options)
    for row in range(24):
        alone = search(scorer, source[row : row + 1], lengths[row : row + 1], options)
        assert_same(alone, row_of(together, row))


@pytest.mark.parametrize("beam", [1, 4])
def test_finished_sentences_leave_the_batch_and_change_nothing(beam) -> None:
    scorer, source = hashed(17, rows=40, vocabulary=20, sharpness=3.0)
    options = SearchConfig(beam=beam, n_best=beam)
    limits = torch.arange(40) % 17
    found = drain(scorer, source, options, limits)
    calls = list(scorer.calls)
    for row in range(40):
        assert_same(drain(scorer, source[row : row + 1], options, limits[row : row + 1]), row_of(found, row))
    # The scorer sees fewer rows as sentences finish, always `beam` for each.
    assert calls[0] == (40, 40)
    assert all(rows == beam * sentences for rows, sentences in calls[1:])
    numbers = [sentences for _, sentences in calls]
    assert numbers == sorted(numbers, reverse=True)
    assert len(set(numbers)) > 5


class OnlyCertain(Beam):
    """Stop where nothing can change the outcome: without K endings the likely rule never applies."""

    def is_finished(self, best: Tensor, sums: Tensor, times: Tensor, limits: Tensor) -> Tensor:
        return super().is_finished(torch.cat([best, torch.full_like(best[:, :1], -math.inf)], 1), sums, times, limits)


class AtTheLimit(Beam):
    """Never stop before the limit."""

    def is_finished(self, best: Tensor, sums: Tensor, times: Tensor, limits: Tensor) -> Tensor:
        return limits <= times


@pytest.mark.parametrize(("normalisation", "alpha"), NORMALISATIONS)
def test_stopping_for_certain_loses_nothing(normalisation, alpha) -> None:
    scorer, source = hashed(19, rows=30, vocabulary=9, sharpness=2.5)
    options = SearchConfig(beam=4, n_best=2, normalisation=normalisation, length_penalty=alpha)
    stopped = drain(scorer, source, options, [12] * 30, choose=OnlyCertain(options))
    num_rows = sum(rows for rows, _ in scorer.calls)
    scorer.calls.clear()
    assert_same(stopped, drain(scorer, source, options, [12] * 30, choose=AtTheLimit(options)))
    assert num_rows < sum(rows for rows, _ in scorer.calls)


@pytest.mark.parametrize(("limit", "expected"), [(4, [4, 5, 6, 7]), (3, [])])
def test_a_costly_start_may_pay_off_at_the_longest_length_only(limit, expected) -> None:
    # Ending at once scores -1; 4 5 6 7 costs 4.5 first and nothing then: -0.9 if there is room for all of it.
    scorer, table = markov(0, rows=1, vocabulary=8)
    table.fill_(-100)
    table[:, :, EOS] = -200
    table[0, 2, EOS], table[0, 2, 4] = -1, -4.5
    table[0, 4, 5] = table[0, 5, 6] = table[0, 6, 7] = table[0, 7, EOS] = 0
    assert outputs(drain(scorer, table, SearchConfig(beam=2), [limit]), 0) == [expected]


def test_n_best_is_sorted_and_distinct() -> None:
    scorer, source = hashed(23, rows=15, vocabulary=30)
    found = drain(scorer, source, SearchConfig(beam=6, n_best=6), [8] * 15)
    assert (found.scores[:, 1:] <= found.scores[:, :-1]).all()
    for row in range(15):
        assert len({tuple(output) for output in outputs(found, row)}) == 6
    fewer = drain(scorer, source, SearchConfig(beam=6, n_best=1), [8] * 15)
    assert (fewer.scores[:, 0] <= found.scores[:, 0]).all()


def test_outputs_hold_no_special_token_and_are_padded() -> None:
    scorer, source = hashed(29, rows=30, vocabulary=5)
    for unknown in (True, False):
        found = drain(scorer, source, SearchConfig(beam=3, n_best=3, unknown=unknown), [6] * 30)
        inside = torch.arange(found.tokens.shape[2]) < found.lengths[:, :, None]
        assert set(found.tokens[inside].tolist()) == ({1, 4} if unknown else {4})
        assert (found.tokens[~inside] == PAD).all()
        assert found.tokens.shape[2] == found.lengths.max()


def test_each_sentence_has_its_own_longest_length() -> None:
    scorer, table = markov(31, rows=5, vocabulary=6)
    table[:, :, EOS] = -50.0  # nothing ends before it must
    lengths = torch.tensor([3, 0, 1, 10, 4])
    found = search(scorer, table, lengths, SearchConfig(beam=2, max_length_ratio=1.5, max_length_extra=2))
    assert found.lengths[:, 0].tolist() == [6, 2, 3, 17, 8]
    longer = search(scorer, table, lengths, SearchConfig(beam=2, max_length_ratio=0, max_length_extra=0, min_length=3))
    assert longer.lengths[:, 0].tolist() == [3] * 5


@pytest.mark.parametrize("beam", [2, 5])
def test_the_state_that_the_scorer_gets_is_that_of_its_hypothesis(beam) -> None:
    scorer, source = hashed(37, rows=25, vocabulary=40, sharpness=3.0)
    limits = torch.arange(25) % 12
    histories = {row: [[2]] for row in range(25)}
    for step in steps(scorer, source, SearchConfig(beam=beam), limits):
        seen = scorer.seen[-1].unflatten(0, (len(step.rows), -1))
        for place, row in enumerate(step.rows.tolist()):
            assert seen[place].tolist() == histories[row]
            pairs = zip(step.parents[place].tolist(), step.tokens[place].tolist(), strict=True)
            histories[row] = [[*histories[row][parent], token] for parent, token in pairs]


def test_a_caller_may_give_sentences_up() -> None:
    scorer, source = hashed(41, rows=6, vocabulary=30)
    options = SearchConfig(beam=3, n_best=3)
    whole = drain(scorer, source, options, [15] * 6)
    generator = steps(scorer, source, options, torch.full([6], 15))
    next(generator)
    step = generator.send(Change(give_up=torch.tensor([1, 4])))
    assert step.rows.tolist() == [0, 2, 3, 5]
    found = finish(generator)
    for row in (0, 2, 3, 5):
        assert_same(row_of(found, row), row_of(whole, row))
    assert found.lengths[[1, 4]].max() == 0


def test_endings_shown_by_steps_are_the_hypotheses() -> None:
    scorer, source = hashed(43, rows=8, vocabulary=12)
    options = SearchConfig(beam=4, n_best=4, normalisation="none")
    ended: list[list[float]] = [[] for _ in range(8)]
    for step in steps(scorer, source, options, torch.full([8], 6)):
        for row, values in zip(step.rows.tolist(), step.ended.tolist(), strict=True):
            ended[row] += [value for value in values if value > float("-inf")]
    found = drain(scorer, source, options, [6] * 8)
    for row in range(8):
        assert found.scores[row].tolist() == sorted(ended[row], reverse=True)[:4]


def test_ties_are_deterministic_and_greedy_takes_the_first() -> None:
    table = torch.full([3, 300, 300], 1 / 300).log()
    scorer, _ = markov(0, rows=1, vocabulary=4)
    runs = [drain(scorer, table, SearchConfig(beam=4, n_best=4), [4, 2, 5]) for _ in range(3)]
    assert_same(runs[0], runs[1])
    assert_same(runs[0], runs[2])
    table[:, :, EOS] -= 1
    assert outputs(drain(scorer, table, SearchConfig(beam=1), [4, 2, 5]), 0) == [[1, 1, 1, 1]]


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_narrow_scores_are_summed_in_float32(kind) -> None:
    scorer, source = markov(47, rows=3, vocabulary=8)
    source = source.to(kind)
    source[:, :, EOS] = -30.0
    found = drain(scorer, source, SearchConfig(beam=2), [60, 40, 50])
    for row in range(3):
        expected = log_prob(scorer.plain(source), row, outputs(found, row)[0])
        assert found.log_probs.dtype == torch.float32
        assert found.log_probs[row, 0].item() == pytest.approx(expected, rel=1e-5)


def test_the_scorers_own_tensor_is_left_alone() -> None:
    scorer, source = hashed(53, rows=4, vocabulary=200)
    before = scorer.table.clone()
    for beam in (1, 3):
        search(scorer, source, torch.tensor([2, 3, 1, 4]), SearchConfig(beam=beam, no_repeat_ngram=1, min_length=2))
    assert torch.equal(scorer.table, before)


def test_no_sentences_give_no_hypotheses() -> None:
    scorer, source = hashed(59, rows=0, vocabulary=8)
    found = search(scorer, source, torch.zeros(0, dtype=torch.int64), SearchConfig(n_best=2))
    assert found.tokens.shape[:2] == found.scores.shape == (0, 2)
    assert not scorer.calls


def test_scores_that_are_no_numbers_end_the_search() -> None:
    scorer, source = markov(61, rows=3, vocabulary=8)
    for beam in (1, 3):
        found = drain(scorer, torch.full_like(source, float("nan")), SearchConfig(beam=beam), [5, 2, 4])
        assert (found.lengths[:, 0] <= torch.tensor([5, 2, 4])).all()
