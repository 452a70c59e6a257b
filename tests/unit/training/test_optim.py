"""Schedules are pure functions of the update's number; vectors are never decayed."""

import copy
import itertools
import subprocess
import sys

import pytest
import torch
from torch import nn

from calque.training.optimizers.adam import AdamConfig, AdamWConfig
from calque.training.schedules import learning_rate

SCHEDULES = ("constant", "inverse_sqrt", "cosine")
PEAK, WARMUP, LENGTH = 0.002, 40, 400
each_schedule = pytest.mark.parametrize("schedule", SCHEDULES)


def rates(schedule, warmup: int = WARMUP, length: int = LENGTH, until: int = LENGTH) -> list[float]:
    return [learning_rate(schedule, PEAK, warmup, update, length) for update in range(1, until + 1)]


@each_schedule
def test_the_warm_up_is_a_straight_line_from_nothing_to_the_peak(schedule) -> None:
    warming = rates(schedule)[:WARMUP]
    assert warming == pytest.approx([PEAK * update / WARMUP for update in range(1, WARMUP + 1)])
    assert warming[-1] == pytest.approx(PEAK)


@each_schedule
@pytest.mark.parametrize("warmup", [0, 1, WARMUP, LENGTH, 2 * LENGTH])
def test_rates_are_positive_never_above_the_peak_and_fall_once_warm(schedule, warmup: int) -> None:
    found = rates(schedule, warmup, until=3 * LENGTH)
    assert all(0 < rate <= PEAK * (1 + 1e-12) for rate in found)
    assert all(after <= before * (1 + 1e-12) for before, after in itertools.pairwise(found[max(0, warmup - 1) :]))


@each_schedule
def test_there_is_no_jump_where_the_warm_up_ends(schedule) -> None:
    found = rates(schedule)
    assert abs(found[WARMUP] - found[WARMUP - 1]) <= PEAK / WARMUP


def test_the_schedules_fall_as_their_names_say() -> None:
    assert set(rates("constant")[WARMUP:]) == {PEAK}
    assert rates("inverse_sqrt")[4 * WARMUP - 1] == pytest.approx(PEAK / 2)
    cosine = rates("cosine", until=2 * LENGTH)
    middle = WARMUP + (LENGTH - WARMUP) // 2
    assert cosine[middle - 1] == pytest.approx(PEAK * 0.51)
    assert cosine[LENGTH - 1] == pytest.approx(0.02 * PEAK)
    assert set(cosine[LENGTH:]) == {cosine[LENGTH - 1]}


@each_schedule
def test_a_rate_depends_on_nothing_but_its_arguments(schedule) -> None:
    there = rates(schedule)
    back = [learning_rate(schedule, PEAK, WARMUP, update, LENGTH) for update in range(LENGTH, 0, -1)]
    assert back[::-1] == there
    doubled = [learning_rate(schedule, 2 * PEAK, WARMUP, update, LENGTH) for update in range(1, LENGTH + 1)]
    assert doubled == pytest.approx([2 * rate for rate in there])


@pytest.mark.parametrize("schedule", ["constant", "inverse_sqrt"])
def test_only_cosine_depends_on_the_length_of_the_run(schedule) -> None:
    assert rates(schedule, length=LENGTH) == rates(schedule, length=7 * LENGTH)
    assert rates("cosine", length=LENGTH) != rates("cosine", length=7 * LENGTH)


def test_decay_shrinks_matrices_and_leaves_vectors() -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
    before = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
    optimizer = AdamWConfig(weight_decay=0.5).build(module.parameters(), 0.1)
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in module.named_parameters():
        shrunk = before[name] * (1 - 0.1 * 0.5) if parameter.dim() > 1 else before[name]
        torch.testing.assert_close(parameter.detach(), shrunk)


@pytest.mark.parametrize("config", [AdamConfig(), AdamWConfig()], ids=lambda config: config.kind)
def test_every_trained_parameter_is_in_one_group_and_frozen_ones_in_none(config) -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
    module[0].bias.requires_grad_(False)
    optimizer = config.build(module.parameters(), 0.1)
    grouped = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
    assert sorted(grouped) == sorted(id(parameter) for parameter in module.parameters() if parameter.requires_grad)
    assert {group["lr"] for group in optimizer.param_groups} == {0.1}


def test_plain_adam_decays_nothing() -> None:
    optimizer = AdamConfig().build([nn.Parameter(torch.ones(2, 2))], 0.1)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0]


@pytest.mark.parametrize(
    "config", [AdamConfig(beta2=0.95), AdamWConfig(weight_decay=0.3)], ids=lambda config: config.kind
)
def test_updates_are_those_of_torch_bit_for_bit_and_so_is_the_state(config) -> None:
    """Change the rate between updates, save and load half-way; torch's own optimizer does the same beside."""
    torch.manual_seed(4)
    module = nn.Sequential(nn.Linear(7, 5), nn.LayerNorm(5), nn.Linear(5, 3))
    twin = copy.deepcopy(module)
    optimizer = config.build(module.parameters(), 0.1)
    options = {"lr": 0.1, "betas": (config.beta1, config.beta2), "eps": config.epsilon, "fused": True}
    if isinstance(config, AdamWConfig):
        # Groups in the order of `build_optimizer`: what decays, then what does not.
        groups = [[p for p in twin.parameters() if (p.dim() > 1) == decays] for decays in (True, False)]
        decays = (config.weight_decay, 0.0)
        parts = [{"params": group, "weight_decay": decay} for group, decay in zip(groups, decays, strict=True)]
        torchs: torch.optim.Optimizer = torch.optim.AdamW(parts, **options)
    else:
        torchs = torch.optim.Adam(twin.parameters(), **options)
    for number in range(6):
        for group in [*optimizer.param_groups, *torchs.param_groups]:
            group["lr"] = 0.1 / (number + 1)
        inputs = torch.randn(4, 7)
        for model, other in ((module, optimizer), (twin, torchs)):
            model(inputs).square().sum().backward()
            other.step()
            other.zero_grad(set_to_none=True)
        if number == 2:
            saved = copy.deepcopy(optimizer.state_dict())
            optimizer = config.build(module.parameters(), 0.1)
            optimizer.load_state_dict(saved)
    assert all(parameter.grad is None for parameter in module.parameters())
    for own, theirs in zip(module.parameters(), twin.parameters(), strict=True):
        assert torch.equal(own, theirs)
    state, expected = optimizer.state_dict()["state"], torchs.state_dict()["state"]
    assert state.keys() == expected.keys()
    for number, parts in expected.items():
        assert state[number].keys() == parts.keys()
        assert all(torch.equal(state[number][name], part) for name, part in parts.items())


def test_no_gradient_is_kept_of_an_update() -> None:
    """Leave leaves: an update is no part of what is differentiated."""
    parameter = nn.Parameter(torch.ones(3))
    optimizer = AdamConfig().build([parameter], 0.1)
    parameter.square().sum().backward()
    optimizer.step()
    assert parameter.is_leaf
    assert parameter.grad_fn is None
    assert torch.is_grad_enabled()


def test_a_life_of_the_optimizer_leaves_the_compiler_alone() -> None:
    """Build, update, save and restore in a new process: the compiler's import alone would take seconds."""
    script = (
        "import sys, torch; from calque.training.optimizers.adam import AdamWConfig;"
        "weight = torch.nn.Parameter(torch.ones(2, 2)); build = lambda: AdamWConfig().build([weight], 0.1);"
        "first, second = build(), build(); weight.sum().backward(); first.step(); first.zero_grad();"
        "second.load_state_dict(first.state_dict()); print('torch._dynamo' in sys.modules, float(weight[0, 0]) < 1)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout == "False True\n", done.stderr
