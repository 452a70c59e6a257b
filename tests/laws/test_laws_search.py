"""Laws 4, 5 and 8 with real models: what search finds, reports and is forced to."""

import itertools

import pytest
import torch
from parts import PRODUCT, VOCAB_SIZE, Case, batch, model, unpadded

from calque import rows
from calque.batch import Batch
from calque.data.collate import collate_pairs
from calque.ids import BOS, EOS, PAD
from calque.search.options import SearchConfig
from calque.search.processors import ForcedPrefix
from calque.search.steps import search
from calque.text.source import plain_sources

each_case = pytest.mark.parametrize("case", PRODUCT, ids=str)


def outputs(hypotheses, row):
    """Return the token lists of one sentence's hypotheses, best first."""
    return [
        hypotheses.tokens[row, rank, : int(hypotheses.lengths[row, rank])].tolist()
        for rank in range(hypotheses.tokens.shape[1])
        if hypotheses.scores[row, rank] > float("-inf")
    ]


def log_probs(net, source, space):
    """Score outputs of one source, with </s>, from scratch, by the parallel forward."""
    targets = collate_pairs(plain_sources([[4]]) * len(space), space).target
    sources = rows.select(source, torch.zeros(len(space), dtype=torch.int64))
    return (-net.losses(Batch(sources, targets)).sum(1)).tolist()


@each_case
@torch.no_grad()
def test_a_beam_as_wide_as_the_space_finds_the_optimum(case: Case) -> None:
    net, data = model(case, seed=1), batch(case, seed=11, num_rows=2)
    for row in range(2):
        source = unpadded(data.source, row)
        num_forms = source.forms.shape[1] if case.copies else 0
        usable = [token for token in range(VOCAB_SIZE + num_forms) if token not in (PAD, BOS, EOS)]
        space = [list(tokens) for length in range(3) for tokens in itertools.product(usable, repeat=length)]
        options = SearchConfig(beam=len(space), max_length_ratio=0.0, max_length_extra=2)
        found = search(net, source, source.mask.sum(1), options)
        scores = [
            log_prob / (len(tokens) + 1) for tokens, log_prob in zip(space, log_probs(net, source, space), strict=True)
        ]
        assert outputs(found, 0)[0] == space[scores.index(max(scores))]


@each_case
@torch.no_grad()
def test_the_reported_score_is_the_models(case: Case) -> None:
    net, data = model(case, seed=2), batch(case, seed=12)
    options = SearchConfig(beam=4, n_best=3, max_length_ratio=1.0, max_length_extra=4)
    found = search(net, data.source, data.source.mask.sum(1), options)
    for row in range(4):
        found_here = outputs(found, row)
        for rank, expected in enumerate(log_probs(net, unpadded(data.source, row), found_here)):
            tokens = found_here[rank]
            assert float(found.log_probs[row, rank]) == pytest.approx(expected, abs=1e-4)
            assert float(found.scores[row, rank]) == pytest.approx(expected / (len(tokens) + 1), abs=1e-4)


@each_case
@torch.no_grad()
def test_alone_in_search_equals_in_a_batch(case: Case) -> None:
    net, data = model(case, seed=3), batch(case, seed=13, num_rows=3)
    options = SearchConfig(beam=3, max_length_ratio=1.0, max_length_extra=3)
    together = search(net, data.source, data.source.mask.sum(1), options)
    for row in range(3):
        alone = unpadded(data.source, row)
        assert outputs(search(net, alone, alone.mask.sum(1), options), 0) == outputs(together, row)


@each_case
@torch.no_grad()
def test_prefix_minimum_length_and_no_repeat_hold(case: Case) -> None:
    net, data = model(case, seed=4), batch(case, seed=14)
    prefix = torch.tensor([[6, 5], [7, PAD], [PAD, PAD], [9, 9]])
    options = SearchConfig(beam=3, n_best=3, min_length=4, no_repeat_ngram=2, max_length_ratio=0.0, max_length_extra=7)
    found = search(net, data.source, data.source.mask.sum(1), options, [ForcedPrefix(prefix)])
    for row in range(4):
        wanted = [token for token in prefix[row].tolist() if token != PAD]
        hypotheses = outputs(found, row)
        assert hypotheses
        for tokens in hypotheses:
            assert tokens[: len(wanted)] == wanted
            assert len(tokens) >= 4
            pairs = list(itertools.pairwise(tokens))
            assert len(pairs) == len(set(pairs))
