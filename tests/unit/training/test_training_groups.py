"""Parameter groups: each follows the rate by its multiplier, and what it holds comes back with the state."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from calque.batch import Batch
from calque.catalog import architecture
from calque.data.collate import collate_pairs
from calque.folder.checkpoint import load_checkpoint, save_checkpoint
from calque.model import ModelConfig, Seq2Seq, build
from calque.text.source import plain_sources
from calque.training.config import TrainConfig
from calque.training.gradients.here import GradientsHere
from calque.training.objectives.likelihood import Likelihood
from calque.training.objectives.objective import Learner
from calque.training.optimizers.adam import AdamConfig, AdamWConfig
from calque.training.optimizers.optimizer import Optimizer
from calque.training.state import MODEL, ModelState, OptimizerState, Position, RandomState, Stateful, put_back, take
from calque.training.updates import Update, updates

VOCAB_SIZE, NUM_UPDATES, CUT = 17, 7, 3


class Rising(Optimizer):
    """Plain descent whose strength grows by what each group counts: a number, a pair, a tensor, and a count of each
    parameter that is no tensor."""

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        trained = list(parameters)
        halves = trained[::2], trained[1::2]
        groups: list[dict[str, Any]] = [
            {"params": half, "multiplier": multiplier, "counted": 0, "pair": (0.5, 0.0), "weight": torch.ones(2)}
            for half, multiplier in zip(halves, (1.0, 0.25), strict=True)
        ]
        super().__init__(groups, {"lr": 0.0})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Make one update."""
        for group in self.param_groups:
            group["counted"] += 1
            group["weight"] += 0.1
            group["pair"] = (group["pair"][0], group["pair"][1] + 1.0)
            strength = group["lr"] * group["counted"] * float(group["weight"][1]) * (1 + group["pair"][1])
            for parameter in group["params"]:
                if parameter.grad is not None:
                    state = self.state[parameter]
                    state["seen"] = state.get("seen", 0) + 1
                    parameter.sub_(parameter.grad, alpha=strength / state["seen"])


def fresh() -> tuple[Seq2Seq, Rising, dict[str, Stateful], Position]:
    torch.manual_seed(5)
    model = build(ModelConfig.model_validate(architecture("transformer", "tiny")), VOCAB_SIZE, VOCAB_SIZE)
    optimizer, position = Rising(model.parameters()), Position()
    parts: dict[str, Stateful] = {
        MODEL: ModelState(model),
        "optimizer": OptimizerState(optimizer),
        "position": position,
        "random": RandomState(),
    }
    return model, optimizer, parts, position


def stream(start: int) -> Iterator[list[Batch]]:
    for number in range(start, NUM_UPDATES):
        yield [collate_pairs(plain_sources([[4 + number, 5], [6]]), [[7, 8 + number], [9]])]


def train(model: Seq2Seq, optimizer: Rising, position: Position) -> Iterator[Update]:
    config = TrainConfig(threads=1)
    gradients = GradientsHere(Learner(model, Likelihood(0.1)), config)
    return updates(model, optimizer, stream(position.step), gradients, lambda step: 0.01 / step, config, position)


def weights(model: Seq2Seq) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]


def test_resumed_in_the_middle_equals_uninterrupted_bit_for_bit(tmp_path: Path) -> None:
    model, optimizer, _, position = fresh()
    losses = [update.loss for update in train(model, optimizer, position)]
    expected, groups = weights(model), optimizer.state_dict()["param_groups"]

    model, optimizer, parts, position = fresh()
    for update in train(model, optimizer, position):
        if update.step == CUT:
            break
    save_checkpoint(tmp_path, CUT, take(parts))
    model, optimizer, parts, position = fresh()
    found = load_checkpoint(tmp_path, warn=pytest.fail)
    assert found is not None
    put_back(parts, found[1])
    assert [update.loss for update in train(model, optimizer, position)] == losses[CUT:]
    assert all(torch.equal(own, other) for own, other in zip(weights(model), expected, strict=True))
    for own, other in zip(optimizer.state_dict()["param_groups"], groups, strict=True):
        assert own["pair"] == other["pair"]
        assert own["counted"] == other["counted"] == NUM_UPDATES
        assert torch.equal(own["weight"], other["weight"])


def test_each_group_follows_the_rate_by_its_multiplier() -> None:
    model, optimizer, _, position = fresh()
    for update in train(model, optimizer, position):
        assert update.lr == 0.01 / update.step
        assert [group["lr"] for group in optimizer.param_groups] == [update.lr, 0.25 * update.lr]


@pytest.mark.parametrize("config", [AdamConfig(), AdamWConfig(weight_decay=0.3)], ids=lambda config: config.kind)
def test_a_checkpoint_without_group_values_leaves_groups_as_they_are_built(config: AdamConfig) -> None:
    """Read what calque 0.1.0 wrote: it saved no values of the optimizer."""
    parameter = nn.Parameter(torch.ones(2, 2))
    optimizer = config.build([parameter], 0.1)
    parameter.sum().backward()
    optimizer.step()
    state = OptimizerState(optimizer)
    again = config.build([parameter], 0.1)
    OptimizerState(again).restore(state.tensors(), {})
    assert again.param_groups == optimizer.param_groups
    assert torch.equal(again.state[parameter]["exp_avg"], optimizer.state[parameter]["exp_avg"])


def test_the_weights_that_answer_are_those_that_are_trained() -> None:
    parameter = nn.Parameter(torch.ones(2))
    with AdamConfig().build([parameter], 0.1).answering_weights():
        assert torch.equal(parameter.detach(), torch.ones(2))
