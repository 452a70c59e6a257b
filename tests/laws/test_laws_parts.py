"""Laws 1, 2, 3, 6, 7 and 10 over the product of encoders, decoders, attentions and tyings."""

import pytest
import torch
from parts import PRODUCT, VOCAB_SIZE, Case, batch, model, unpadded

from calque import rows
from calque.batch import Batch, Target

SMALL_LOG_PROB = -8.0
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}
each_case = pytest.mark.parametrize("case", PRODUCT, ids=str)


def one(whole: Batch, row: int) -> Batch:
    """Return one pair of a batch without its padding."""
    length = int(whole.target.mask[row].sum())
    target = Target(
        *(part[row : row + 1, :length] for part in (whole.target.inputs, whole.target.labels, whole.target.mask))
    )
    return Batch(unpadded(whole.source, row), target)


def scan(scorer, source, tokens):
    """Return log-probabilities [B, T, V], one step after the other."""
    context, state = scorer.start(source)
    scores = []
    for token in tokens.unbind(1):
        log_probs, state = scorer.step(token, state, context)
        scores.append(log_probs)
    return torch.stack(scores, dim=1)


@each_case
@torch.no_grad()
def test_forward_equals_the_scan_of_step(case: Case) -> None:
    net, data = model(case), batch(case)
    stepwise = -scan(net, data.source, data.target.inputs).gather(2, data.target.labels.unsqueeze(2)).squeeze(2)
    at_once = net.losses(data)
    assert at_once[~data.target.mask].eq(0).all()
    torch.testing.assert_close(at_once, stepwise * data.target.mask, **TOLERANCE)


@each_case
@torch.no_grad()
def test_alone_equals_in_a_batch(case: Case) -> None:
    net, data = model(case), batch(case, seed=1)
    together = net.losses(data)
    for row in range(together.shape[0]):
        alone = net.losses(one(data, row))
        torch.testing.assert_close(together[row : row + 1, : alone.shape[1]], alone, **TOLERANCE)


@each_case
@torch.no_grad()
def test_probabilities_sum_to_one(case: Case) -> None:
    net, data = model(case), batch(case, seed=2)
    scores = scan(net, data.source, data.target.inputs)
    assert scores.shape[-1] == VOCAB_SIZE + (data.source.forms.shape[1] if case.copies else 0)
    torch.testing.assert_close(scores.exp().sum(-1), torch.ones(scores.shape[:2]), **TOLERANCE)


def assert_same(case: Case, found: torch.Tensor, expected: torch.Tensor) -> None:
    """Compare log-probabilities; where copying reads sparse attention, compare small ones as probabilities.

    A weight of entmax just above the threshold is the square of a small difference; a logarithm enlarges its rounding.
    """
    if case.copies and case.is_sparse:
        small = expected < SMALL_LOG_PROB
        torch.testing.assert_close(found.exp(), expected.exp(), **TOLERANCE)
        found, expected = found.masked_fill(small, 0.0), expected.masked_fill(small, 0.0)
    torch.testing.assert_close(found, expected, **TOLERANCE)


@each_case
@torch.no_grad()
def test_select_commutes_with_step(case: Case) -> None:
    """A beam's rows (two a sentence, sentences permuted and dropped) score as the same rows do without selection."""
    net, data = model(case), batch(case, seed=3)
    tokens = data.target.inputs
    wanted = torch.tensor([2, 0])
    context, state = net.start(data.source)
    _, state = net.step(tokens[:, 0], state, context)
    full, _ = net.step(tokens[:, 1], rows.select(state, torch.arange(4)), context)

    kept = rows.select(context, wanted)
    beam = rows.select(state, wanted.repeat_interleave(2))
    twice, after = net.step(tokens[wanted, 1].repeat_interleave(2), beam, kept)
    assert_same(case, twice, full[wanted].repeat_interleave(2, dim=0))
    # The beam swaps its hypotheses and reads different tokens: each row follows its own history.
    swapped = rows.select(after, torch.tensor([1, 0, 3, 2]))
    third, _ = net.step(torch.tensor([5, 6, 7, 8]), swapped, kept)
    for row, token in enumerate((5, 6, 7, 8)):
        sentence = int(wanted[row // 2])
        history = torch.tensor([[int(tokens[sentence, 0]), int(tokens[sentence, 1]), token]])
        alone = scan(net, rows.select(data.source, torch.tensor([sentence])), history)[0, 2]
        assert_same(case, third[row], alone)


@each_case
@torch.no_grad()
def test_a_row_that_joins_later_scores_as_alone(case: Case) -> None:
    net = model(case)
    early, late = batch(case, seed=4, num_rows=2, longest=6), batch(case, seed=5, num_rows=1, longest=3)
    tokens = torch.tensor([[2, 5, 6, 7], [2, 8, 9, 4]])
    context, state = net.start(early.source)
    for time in range(2):
        _, state = net.step(tokens[:, time], state, context)
    late_context, late_state = net.start(late.source)
    context, state = rows.join([context, late_context]), rows.join([state, late_state])
    first, state = net.step(torch.cat([tokens[:, 2], torch.tensor([2])]), state, context)
    second, _ = net.step(torch.cat([tokens[:, 3], torch.tensor([11])]), state, context)
    expected_early = scan(net, early.source, tokens)
    expected_late = scan(net, late.source, torch.tensor([[2, 11]]))
    for scores, early_place, late_place in ((first, 2, 0), (second, 3, 1)):
        for row, expected in enumerate((*expected_early[:, early_place], expected_late[0, late_place])):
            # One that has fewer forms to copy than its neighbours cannot produce theirs.
            missing = scores.shape[1] - len(expected)
            wanted = torch.nn.functional.pad(expected, (0, missing), value=float("-inf"))
            torch.testing.assert_close(scores[row], wanted, **TOLERANCE)


@each_case
def test_a_gradient_reaches_every_parameter(case: Case) -> None:
    net = model(case).train()
    net.losses(batch(case, seed=6, num_rows=6), 0.1).sum().backward()
    dead = [name for name, parameter in net.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    assert dead == []


@each_case
def test_unequal_micro_batches_equal_one_batch(case: Case) -> None:
    """Count first, then divide: how an update is cut changes neither loss nor gradient."""
    net, data = model(case), batch(case, seed=7, num_rows=5)
    tokens = int(data.target.mask.sum())

    def gradients(parts: list[list[int]]) -> tuple[float, list[torch.Tensor]]:
        net.zero_grad()
        total = 0.0
        for part in parts:
            loss = net.losses(rows.select(data, torch.tensor(part)), 0.1).sum() / tokens
            loss.backward()
            total += float(loss.detach())
        return total, [parameter.grad.clone() for parameter in net.parameters()]

    whole_loss, whole = gradients([[0, 1, 2, 3, 4]])
    cut_loss, cut = gradients([[3], [0, 4, 1], [2]])
    assert cut_loss == pytest.approx(whole_loss, rel=1e-5)
    for left, right in zip(cut, whole, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-5)
