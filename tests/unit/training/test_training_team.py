"""Processes that share an update: gradients of one process, draws that resume, no orphan and no hang when one dies."""

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import is_running
from torch import nn
from whole_update import whole_update

from calque.batch import Batch
from calque.catalog import architecture
from calque.data.collate import collate_pairs
from calque.errors import ResourceError, UsageError
from calque.model import ModelConfig, Seq2Seq, build
from calque.recipe.layers import merge
from calque.text.source import plain_sources
from calque.training.config import TrainConfig
from calque.training.gradients.forked import OPENING, Team, add_gradients, gradients_shared, share_out
from calque.training.gradients.here import GradientsHere
from calque.training.objectives.likelihood import Likelihood
from calque.training.objectives.objective import Learner, Objective

HERE = Path(__file__).parent
VOCAB_SIZE = 23


def micro_batches(sizes: Sequence[int], seed: int = 1) -> list[Batch]:
    """Return pieces of so many pairs each, of random lengths."""
    draw = random.Random(seed)

    def sentences(count: int) -> list[list[int]]:
        return [[draw.randrange(4, VOCAB_SIZE) for _ in range(draw.randint(1, 9))] for _ in range(count)]

    return [collate_pairs(plain_sources(sentences(size)), sentences(size)) for size in sizes]


def learner_of(name: str, dropout: float) -> Learner:
    torch.manual_seed(5)
    parts = {"encoder": {"dropout": dropout}, "decoder": {"dropout": dropout}}
    model = build(ModelConfig.model_validate(merge(architecture(name, "tiny"), parts)), VOCAB_SIZE, VOCAB_SIZE)
    return Learner(model, Likelihood(0.1))


def of_team(threads: int) -> TrainConfig:
    return TrainConfig(threads=threads, parallel="processes")


def gradients_of(learner: Learner) -> list[torch.Tensor]:
    """Take the gradients out of a learner."""
    found = [parameter.grad for parameter in learner.parameters() if parameter.grad is not None]
    learner.zero_grad(set_to_none=True)
    return found


@given(st.lists(st.integers(1, 12), min_size=1, max_size=6), st.integers(1, 5), st.integers(0, 100))
@settings(deadline=None)
def test_every_pair_is_in_one_share_and_shares_are_even(sizes: list[int], count: int, seed: int) -> None:
    given = micro_batches(sizes, seed)
    shares = share_out(given, count)
    assert len(shares) == count
    rows = [row.tolist() for share in shares for piece in share for row in piece.target.labels]
    assert rows == [row.tolist() for piece in given for row in piece.target.labels]
    cells = [sum(piece.target.mask.numel() + piece.source.mask.numel() for piece in share) for share in shares]
    widest = max(piece.target.mask.shape[1] + piece.source.mask.shape[1] for piece in given)
    # What opening a piece costs counts as well, where pieces end; a border falls between two pairs.
    costs = [cells + OPENING * len(share) for cells, share in zip(cells, shares, strict=True)]
    assert all(abs(cost - sum(costs) / count) <= widest + 2 * OPENING for cost in costs)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [([60, 66], [[60], [66]]), ([40, 40, 40], [[40, 20], [20, 40]]), ([66, 60, 4], [[66], [60, 4]])],
)
def test_a_piece_is_cut_only_where_that_evens_out_more_than_it_costs(sizes: list[int], expected: list[int]) -> None:
    shares = share_out(micro_batches(sizes), 2)
    assert [[len(piece.target.mask) for piece in share] for share in shares] == expected


@pytest.mark.parametrize("name", ["transformer", "lstm"])
@pytest.mark.parametrize("threads", [2, 3])
def test_a_team_has_the_gradients_of_one_process(name: str, threads: int) -> None:
    learner = learner_of(name, 0.0)
    alone = GradientsHere(learner, TrainConfig(threads=1))
    with Team(learner, of_team(threads)) as team:
        # Twice, since a helper must forget the gradients of the update before; one pair leaves helpers without work.
        for given in (micro_batches([7, 4, 9]), micro_batches([1], seed=2), micro_batches([5, 5], seed=3)):
            expected_loss, expected_tokens = whole_update(alone, given)
            expected = gradients_of(learner)
            loss, tokens = whole_update(team, given)
            assert tokens == expected_tokens
            assert loss == pytest.approx(expected_loss, rel=1e-5)
            for own, other in zip(gradients_of(learner), expected, strict=True):
                torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-6)


def test_helpers_read_weights_that_changed() -> None:
    learner = learner_of("lstm", 0.0)
    with Team(learner, of_team(2)) as team:
        before, _ = whole_update(team, micro_batches([8]))
        with torch.no_grad():
            for parameter in learner.parameters():
                parameter.mul_(0.5)
        after, _ = whole_update(team, micro_batches([8]))
    assert after == pytest.approx(
        whole_update(GradientsHere(learner, TrainConfig(threads=1)), micro_batches([8]))[0], rel=1e-5
    )
    assert abs(after - before) > 1e-3


def test_dropout_follows_from_the_generator_here() -> None:
    learner, given = learner_of("transformer", 0.3), micro_batches([6, 6])
    found = []
    with Team(learner, of_team(2)) as team:
        for seed in (1, 1, 2):
            torch.manual_seed(seed)
            found.append(whole_update(team, given)[0])
    # Another team, as after a resumption.
    with Team(learner, of_team(2)) as team:
        torch.manual_seed(2)
        found.append(whole_update(team, given)[0])
    assert found[0] == found[1]
    assert found[2] == found[3]
    assert found[1] != found[2]


def test_dropout_of_a_helper_follows_from_the_seed_that_it_is_given() -> None:
    with Team(learner_of("transformer", 0.3), of_team(2)) as team:
        answers = []
        for seed in (1, 1, 2):
            team.helpers[0].ask(micro_batches([6]), 50, seed)
            answers.append(team.helpers[0].answer())
    assert answers[0] == answers[1]
    assert answers[1] != answers[2]


def test_processes_are_asked_for_by_the_recipe() -> None:
    learner = learner_of("lstm", 0.0)
    for config in (TrainConfig(threads=2), TrainConfig(threads=1, parallel="processes")):
        with gradients_shared(learner, config) as gradients:
            assert not isinstance(gradients, Team)
    before = torch.get_num_threads()
    with gradients_shared(learner, of_team(3)) as gradients:
        assert isinstance(gradients, Team)
        assert len(gradients.helpers) == 2
        whole_update(gradients, micro_batches([4]))
        assert torch.get_num_threads() == before


def test_a_process_that_cannot_fork_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)
    with (
        pytest.raises(UsageError, match=r"train\.parallel=threads"),
        gradients_shared(learner_of("lstm", 0.0), of_team(2)),
    ):
        raise AssertionError("it was entered")


def test_what_no_process_reached_stays_without_a_gradient() -> None:
    """An optimizer passes over what has none, and would decay what has zeros: so does a layer that was dropped."""
    reached, missed, both = (nn.Parameter(torch.ones(2)) for _ in range(3))
    both.grad = torch.ones(2)
    add_gradients([reached, missed, both], [torch.ones(2), torch.zeros(2), torch.ones(2)])
    assert missed.grad is None
    assert reached.grad is not None
    assert both.grad.tolist() == [2.0, 2.0]


def test_a_killed_helper_is_told() -> None:
    with Team(learner_of("lstm", 0.0), of_team(3)) as team:
        whole_update(team, micro_batches([6]))
        os.kill(team.helpers[1].process.pid, signal.SIGKILL)
        with pytest.raises(ResourceError, match=r"train\.parallel=threads"):
            whole_update(team, micro_batches([6]))


def test_an_interruption_is_not_a_helpers_to_answer() -> None:
    """Ctrl-C reaches every process of a terminal, and a service's end every process of a service."""
    with Team(learner_of("lstm", 0.0), of_team(2)) as team:
        expected = whole_update(team, micro_batches([6]))
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(team.helpers[0].process.pid, number)
        assert whole_update(team, micro_batches([6])) == expected


def test_a_fault_in_a_helper_comes_here() -> None:
    class Faulty(Objective):
        def __call__(self, model: Seq2Seq, batch: Batch) -> torch.Tensor:
            raise ZeroDivisionError("out of order")

    with Team(Learner(learner_of("lstm", 0.0).model, Faulty()), of_team(2)) as team:
        helper = team.helpers[0]
        helper.ask(micro_batches([3]), 9, 1)
        with pytest.raises(RuntimeError, match="out of order"):
            helper.answer()


def test_helpers_end_with_the_team() -> None:
    with Team(learner_of("lstm", 0.0), of_team(3)) as team:
        numbers = [helper.process.pid for helper in team.helpers]
        # In the midst of work, which nobody waits for.
        for helper in team.helpers:
            helper.ask(micro_batches([40]), 100, 1)
    assert not any(is_running(number) for number in numbers)


def test_helpers_do_not_outlive_a_killed_parent() -> None:
    code = (
        "import os, signal, test_training_team as own\n"
        "with own.Team(own.learner_of('lstm', 0.0), own.of_team(3)) as team:\n"
        "    team.accumulate(own.micro_batches([6]), 6)\n"
        "    print(*(helper.process.pid for helper in team.helpers), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    place = {"PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parents[1]), os.environ["PYTHONPATH"]])}
    # Read by pipe to its end: an orphan that holds the pipe would keep this waiting.
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | place, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    numbers = [int(number) for number in done.stdout.split()]
    assert len(numbers) == 2
    deadline = time.monotonic() + 10
    while any(is_running(number) for number in numbers):
        assert time.monotonic() < deadline, "a helper outlived its parent"
        time.sleep(0.05)
