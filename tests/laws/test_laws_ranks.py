"""Law 10: the number of ranks changes neither losses nor weights, and only the first rank writes files."""

import io
import multiprocessing
import os
import random
import shutil
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from toy_language import BRIEF, write_pairs

from calque.batch import Batch
from calque.catalog import architecture
from calque.data.collate import collate_pairs
from calque.model import ModelConfig, build
from calque.report.progress import SilentDisplay, display_for
from calque.runs import session
from calque.runs.request import Named, make_request
from calque.system.signals import Interruption
from calque.text.source import plain_sources
from calque.training.config import TrainConfig
from calque.training.gradients.here import GradientsHere
from calque.training.gradients.ranks import Ranks, over_ranks
from calque.training.objectives.likelihood import Likelihood
from calque.training.objectives.objective import Learner
from calque.training.optimizers.adam import AdamConfig
from calque.training.run import Run
from calque.training.state import Position
from calque.training.updates import updates

VOCAB_SIZE = 17
Result = tuple[list[float], list[Tensor], list[tuple[bool, int]]]


def stream() -> list[list[Batch]]:
    """Return three updates of unequal micro-batches; the last holds one pair, which leaves a rank without work."""
    draw = random.Random(7)

    def micro_batch(count: int) -> Batch:
        pairs = [
            [[draw.randrange(4, VOCAB_SIZE) for _ in range(draw.randint(1, 6))] for _ in range(2)] for _ in range(count)
        ]
        return collate_pairs(plain_sources([pair[0] for pair in pairs]), [pair[1] for pair in pairs])

    return [[micro_batch(5), micro_batch(2)], [micro_batch(1), micro_batch(1), micro_batch(4)], [micro_batch(1)]]


def trained(ranks: Ranks) -> Result:
    """Train without dropout; return losses, weights, and what the ranks agreed on."""
    torch.manual_seed(5)
    torch.set_num_threads(1)
    section = architecture("transformer", "tiny")
    for side in ("encoder", "decoder"):
        section[side] |= {"dropout": 0.0, "layers": 1}
    model = build(ModelConfig.model_validate(section), VOCAB_SIZE, VOCAB_SIZE)
    config = TrainConfig(threads=1)
    own = GradientsHere(Learner(model, Likelihood(0.1)), config)
    gradients = over_ranks(own, list(model.parameters()), ranks)
    # With a small epsilon Adam would magnify rounding where a gradient is 0.
    optimizer = AdamConfig(epsilon=0.01).build(model.parameters(), 0.01)
    records = updates(model, optimizer, iter(stream()), gradients, lambda step: 0.01, config, Position())
    losses = [record.loss for record in records]
    agreed = [ranks.agree(ranks.is_first, 0), ranks.agree(not ranks.is_first, 15 * ranks.rank)]
    return losses, [parameter.detach() for parameter in model.parameters()], agreed


def be_rank(rank: int, size: int, file: Path, answers: Connection) -> None:
    """Train as one of several processes that meet over the loopback device."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    from torch import distributed

    distributed.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=size)

    def add(value: Tensor) -> Tensor:
        value = value.clone()
        distributed.all_reduce(value)
        return value

    losses, weights, agreed = trained(Ranks(rank, size, add))
    answers.send((losses, [weight.tolist() for weight in weights], agreed))


@pytest.mark.parametrize("size", [2, 3])
def test_the_number_of_ranks_changes_nothing(size: int, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    pipes = [context.Pipe() for _ in range(size)]
    processes = [
        context.Process(target=be_rank, args=(rank, size, tmp_path / "meeting", pipes[rank][1])) for rank in range(size)
    ]
    for process in processes:
        process.start()
    found = [pipe.recv() for pipe, _ in pipes if pipe.poll(60)]
    for process in processes:
        process.kill()
        process.join()
    assert len(found) == size
    losses, weights, _ = trained(Ranks())
    for own_losses, own_weights, agreed in found:
        assert own_losses == pytest.approx(losses, rel=1e-5)
        for own, other in zip(own_weights, weights, strict=True):
            torch.testing.assert_close(torch.tensor(own), other, rtol=1e-4, atol=1e-5)
        # The first rank alone says that a run is complete; a signal that any rank received counts for all.
        assert agreed == [(True, 0), (False, 15 * (size - 1))]


class PreparedError(BaseException):
    """The run is prepared and has not started."""


def files_of(folder: Path) -> dict[str, bytes]:
    """Return the content of every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def train_as_rank(rank: int, file: Path, parts: tuple[Any, ...], answers: Connection) -> None:
    """Train a prepared run in a copy of its folder; answer with what was printed, and how it ended."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    from torch import distributed

    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)

    def add(value: Tensor) -> Tensor:
        value = value.clone()
        distributed.all_reduce(value)
        return value

    folder, *others, _ = parts
    output = io.StringIO()
    own = Run(folder.with_name(f"rank-{rank}"), *others, display_for(output, quiet=False), ranks=Ranks(rank, 2, add))
    outcome = own.train(Interruption())
    answers.send((output.getvalue(), outcome.step))


def test_only_the_first_rank_writes_files_and_prints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each rank a copy of the folder, and compare what is in it afterwards."""
    found = []

    def captured(*parts: object) -> None:
        found.append(parts)
        raise PreparedError

    data = write_pairs(tmp_path / "pairs.tsv", 120)
    request = make_request([str(data)], tmp_path / "run", Named("gru", "tiny", "translation", None), list(BRIEF))
    with monkeypatch.context() as patch:
        patch.setattr(session, "Run", captured)
        with pytest.raises(PreparedError):
            session.run_training(request, False, SilentDisplay())
    before = files_of(tmp_path / "run")
    context = multiprocessing.get_context("fork")
    pipes = [context.Pipe() for _ in range(2)]
    processes = []
    for rank in range(2):
        shutil.copytree(tmp_path / "run", tmp_path / f"rank-{rank}")
        arguments = (rank, tmp_path / "meeting", found[0], pipes[rank][1])
        processes.append(context.Process(target=train_as_rank, args=arguments))
        processes[-1].start()
    answers = [pipe.recv() if pipe.poll(60) else None for pipe, _ in pipes]
    for process in processes:
        process.kill()
        process.join()
    assert answers[1] == ("", 4)
    assert answers[0] is not None
    assert "step" in answers[0][0]
    assert files_of(tmp_path / "rank-1") == before
    written = files_of(tmp_path / "rank-0").keys() - before.keys()
    assert {"metrics.jsonl", "timing.jsonl", "model.safetensors", "latest"} <= written


def test_one_rank_costs_nothing() -> None:
    own = GradientsHere(
        Learner(build(ModelConfig.model_validate(architecture("rnn", "tiny")), 9, 9), Likelihood()), TrainConfig()
    )
    assert over_ranks(own, [], Ranks()) is own
    assert Ranks().agree(True, 15) == (True, 15)
