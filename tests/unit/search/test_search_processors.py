"""Constraints hold in the output, do not change the scores, and are lifted in the documented order."""

import pytest
import torch
from search_toys import EOS, PAD, UNK, enumerate_all, hashed, log_prob, markov
from test_search_beam import drain, outputs

from calque.errors import UsageError
from calque.search.options import SearchConfig
from calque.search.processors import ForcedPrefix, MinimumLength, NoRepeat
from calque.search.steps import search

LENGTHS = torch.tensor([2, 9, 0, 5, 3, 7])


def repeats(output: list[int], size: int) -> bool:
    grams = [tuple(output[place : place + size]) for place in range(len(output) - size + 1)]
    return len(grams) != len(set(grams))


@pytest.mark.parametrize("beam", [1, 3])
@pytest.mark.parametrize("least", [1, 4])
def test_minimum_length_holds(beam, least) -> None:
    scorer, source = hashed(3, rows=6, vocabulary=9)
    options = SearchConfig(beam=beam, n_best=beam)
    assert search(scorer, source, LENGTHS, options).lengths.min() < least
    found = search(scorer, source, LENGTHS, options.model_copy(update={"min_length": least}))
    assert found.lengths.min() >= least


@pytest.mark.parametrize("beam", [1, 3])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_nothing_repeats(beam, size) -> None:
    scorer, source = markov(5, rows=6, vocabulary=7, sharpness=3.0)
    source[:, :, EOS] -= 6
    source = source.log_softmax(-1)
    options = SearchConfig(beam=beam, n_best=beam)
    freely = search(scorer, source, LENGTHS, options)
    assert any(repeats(output, size) for row in range(6) for output in outputs(freely, row))
    found = search(scorer, source, LENGTHS, options.model_copy(update={"no_repeat_ngram": size}))
    assert not any(repeats(output, size) for row in range(6) for output in outputs(found, row))
    assert found.lengths.max() > size


@pytest.mark.parametrize("normalisation", ["average", "none"])
def test_constrained_search_finds_the_best_of_what_is_allowed(normalisation) -> None:
    scorer, source = hashed(7, rows=3, vocabulary=6)
    options = SearchConfig(beam=110, n_best=4, normalisation=normalisation)
    prefix = torch.tensor([[4, PAD], [PAD, PAD], [5, 4]])
    found = drain(scorer, source, options, [4, 4, 4], [ForcedPrefix(prefix), MinimumLength(2), NoRepeat(2)])
    for row in range(3):
        start = [token for token in prefix[row].tolist() if token != PAD]
        allowed = [
            list(output)
            for _, output in enumerate_all(scorer.plain(source), row, 4, 6, options)
            if list(output[: len(start)]) == start and len(output) >= 2 and not repeats(list(output), 2)
        ]
        assert outputs(found, row) == allowed[:4]
        for place, output in enumerate(outputs(found, row)):
            expected = log_prob(scorer.plain(source), row, output)
            assert found.log_probs[row, place].item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("beam", [1, 4])
def test_prefixes_hold_while_sentences_come_and_go(beam) -> None:
    scorer, source = hashed(11, rows=30, vocabulary=100, sharpness=3.0)
    generator = torch.Generator().manual_seed(0)
    prefix = torch.randint(4, 100, (30, 6), generator=generator)
    sizes = torch.randint(0, 7, (30,), generator=generator)
    prefix[torch.arange(6) >= sizes[:, None]] = PAD
    limits = torch.arange(30) % 11
    found = drain(scorer, source, SearchConfig(beam=beam), limits, [ForcedPrefix(prefix)])
    freely = drain(scorer, source, SearchConfig(beam=beam), limits)
    for row, (size, limit) in enumerate(zip(sizes.tolist(), limits.tolist(), strict=True)):
        # The longest length cuts a prefix.
        assert outputs(found, row)[0][:size] == prefix[row, : min(size, limit)].tolist()
        if not size:
            assert outputs(found, row) == outputs(freely, row)


def test_an_own_optimum_as_prefix_changes_nothing() -> None:
    scorer, source = hashed(13, rows=6, vocabulary=50, sharpness=3.0)
    found = search(scorer, source, LENGTHS, SearchConfig(beam=1))
    again = search(scorer, source, LENGTHS, SearchConfig(beam=1), [ForcedPrefix(found.tokens[:, 0])])
    assert torch.equal(found.tokens, again.tokens)
    torch.testing.assert_close(found.log_probs, again.log_probs)


@pytest.mark.parametrize("beam", [1, 3])
def test_options_give_way_to_a_prefix(beam) -> None:
    scorer, source = hashed(17, rows=2, vocabulary=12)
    prefix = torch.tensor([[7, 7, 7, 7], [5, EOS, PAD, PAD]])
    options = SearchConfig(beam=beam, no_repeat_ngram=1, min_length=3)
    found = search(scorer, source, torch.tensor([4, 4]), options, [ForcedPrefix(prefix)])
    assert outputs(found, 0)[0][:4] == [7] * 4
    assert not repeats(outputs(found, 0)[0][3:], 1)
    assert outputs(found, 1)[0] == [5]
    assert torch.isfinite(found.scores).all()


def test_minimum_length_gives_way_when_nothing_may_follow() -> None:
    scorer, source = hashed(19, rows=4, vocabulary=6)
    options = SearchConfig(beam=2, no_repeat_ngram=1, min_length=9)
    found = search(scorer, source, torch.zeros(4, dtype=torch.int64), options)
    assert found.lengths[:, 0].tolist() == [3] * 4  # <unk> and two words, each once


def test_a_processor_that_allows_nothing_leaves_no_hypothesis() -> None:
    scorer, source = hashed(23, rows=2, vocabulary=8)
    prefix = torch.tensor([[UNK], [PAD]])
    found = drain(scorer, source, SearchConfig(beam=2, unknown=False), [4, 4], [ForcedPrefix(prefix)])
    assert found.scores[0, 0] == float("-inf")
    assert found.lengths[0, 0] == 0
    assert found.scores[1, 0] > float("-inf")


def test_prefixes_for_other_sentences_are_refused() -> None:
    scorer, source = hashed(29, rows=2, vocabulary=8)
    with pytest.raises(UsageError, match="one row per sentence"):
        search(scorer, source, torch.tensor([3, 3]), SearchConfig(), [ForcedPrefix(torch.full([3, 1], 5))])


def test_empty_prefixes_force_nothing() -> None:
    scorer, source = hashed(31, rows=2, vocabulary=8)
    freely = search(scorer, source, torch.tensor([3, 3]), SearchConfig())
    none = ForcedPrefix(torch.zeros(2, 0, dtype=torch.int64))
    assert torch.equal(search(scorer, source, torch.tensor([3, 3]), SearchConfig(), [none]).tokens, freely.tokens)


def test_each_row_has_its_own_position() -> None:
    history = torch.tensor([[5, 6, 5], [5, 6, PAD], [PAD, PAD, PAD]])
    scores = torch.zeros(3, 8)
    ends = MinimumLength(2).apply(scores.clone(), history, MinimumLength(2).start(history))[:, EOS]
    assert torch.isinf(ends).tolist() == [False, False, True]
    pairs = NoRepeat(2)
    repeated = torch.isinf(pairs.apply(scores.clone(), history, pairs.start(history)))[:, 4:].nonzero().tolist()
    assert repeated == [[0, 2]]  # 6 may not follow 5 6 5
    prefix = ForcedPrefix(torch.tensor([[4, 4, 4, 7], [4, 4, 6, PAD], [4, PAD, PAD, PAD]]))
    assert prefix.apply(scores.clone(), history, prefix.tokens).argmax(1).tolist() == [7, 6, 4]
