"""Objectives of a user's own fit, and one that wraps the likelihood keeps the fused loss."""

import pytest
import torch
from torch import Tensor
from whole_update import whole_update

from calque.batch import Batch
from calque.catalog import architecture
from calque.data.collate import collate_pairs
from calque.model import ModelConfig, Seq2Seq, build
from calque.recipe.layers import merge
from calque.text.source import plain_sources
from calque.training.config import TrainConfig
from calque.training.gradients.forked import Team
from calque.training.gradients.here import GradientsHere
from calque.training.objectives.likelihood import Likelihood
from calque.training.objectives.objective import Learner, Objective

VOCAB_SIZE = 17


class RDrop(Objective):
    """Two passes with different dropout, pulled together (Wu et al. 2021)."""

    def __call__(self, model: Seq2Seq, batch: Batch) -> Tensor:
        first, second = model(batch), model(batch)
        one, other = first.log_probs(), second.log_probs()
        apart = ((one - other) * (one.exp() - other.exp())).sum(dim=-1) / 4
        return first.padded((first.losses() + second.losses()) / 2 + apart)


class StepByStep(Objective):
    """The likelihood by a loop over the model's steps, as scheduled sampling needs it."""

    def __call__(self, model: Seq2Seq, batch: Batch) -> Tensor:
        context, state = model.start(batch.source)
        losses = []
        for place in range(batch.target.inputs.shape[1]):
            log_probs, state = model.step(batch.target.inputs[:, place], state, context)
            losses.append(-log_probs.gather(1, batch.target.labels[:, place : place + 1]))
        return torch.cat(losses, dim=1) * batch.target.mask


class Doubled(Objective):
    """Another objective, wrapped."""

    def __init__(self, inner: Objective) -> None:
        self.inner = inner

    def __call__(self, model: Seq2Seq, batch: Batch) -> Tensor:
        return 2 * self.inner(model, batch)


def model_of(name: str = "transformer", dropout: float = 0.0) -> Seq2Seq:
    torch.manual_seed(5)
    parts = {"encoder": {"dropout": dropout}, "decoder": {"dropout": dropout}}
    return build(ModelConfig.model_validate(merge(architecture(name, "tiny"), parts)), VOCAB_SIZE, VOCAB_SIZE)


def batches() -> list[Batch]:
    first = collate_pairs(plain_sources([[4, 5, 6], [7], [8, 9]]), [[9, 8, 7, 6], [4], [10, 11]])
    return [first, collate_pairs(plain_sources([[5, 6]]), [[12, 13, 14]])]


def gradients_of(learner: Learner) -> list[Tensor]:
    return [parameter.grad for parameter in learner.parameters() if parameter.grad is not None]


def test_two_passes_fit_and_train() -> None:
    learner = Learner(model_of(dropout=0.3), RDrop())
    loss, tokens = whole_update(GradientsHere(learner, TrainConfig(threads=1)), batches())
    plain, _ = whole_update(GradientsHere(Learner(learner.model, Likelihood()), TrainConfig(threads=1)), batches())
    assert tokens == sum(int(batch.target.mask.sum()) for batch in batches())
    assert loss > plain * 0.8
    assert all(gradient.isfinite().all() for gradient in gradients_of(learner))


def test_two_passes_are_one_without_dropout() -> None:
    model = model_of().train()
    torch.testing.assert_close(RDrop()(model, batches()[0]), Likelihood()(model, batches()[0]), rtol=1e-5, atol=1e-6)


def test_two_passes_fit_processes_that_share_an_update() -> None:
    learner = Learner(model_of(), RDrop())
    alone, tokens = whole_update(GradientsHere(learner, TrainConfig(threads=1)), batches())
    with Team(learner, TrainConfig(threads=2, parallel="processes")) as team:
        assert whole_update(team, batches()) == (pytest.approx(alone, rel=1e-5), tokens)


@pytest.mark.parametrize("name", ["transformer", "lstm"])
def test_a_loop_over_steps_fits_and_has_the_likelihoods_gradients(name: str) -> None:
    learner = Learner(model_of(name), StepByStep())
    found, _ = whole_update(GradientsHere(learner, TrainConfig(threads=1)), batches())
    gradients = [gradient.clone() for gradient in gradients_of(learner)]
    learner.zero_grad()
    learner.objective = Likelihood()
    expected, _ = whole_update(GradientsHere(learner, TrainConfig(threads=1)), batches())
    assert found == pytest.approx(expected, rel=1e-5)
    for own, other in zip(gradients, gradients_of(learner), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-5)


def test_a_wrapped_objective_keeps_the_fused_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = model_of().train(), batches()[0]
    expected = Likelihood(0.1)(model, data)

    def slow(*_: object) -> Tensor:
        raise AssertionError("scores of all positions were computed")

    monkeypatch.setattr(type(model.head), "log_probs", slow)
    assert torch.equal(Doubled(Likelihood(0.1))(model, data), 2 * expected)


def test_the_recipes_key_sets_the_smoothing() -> None:
    model, data = model_of().train(), batches()[0]
    for smoothing in (0.0, 0.3):
        config = TrainConfig(label_smoothing=smoothing)
        learner = Learner(model, config.objective.build(config.label_smoothing))
        assert torch.equal(learner(data), model.losses(data, smoothing))
    assert not torch.equal(model.losses(data, 0.0), model.losses(data, 0.3))
