"""Worker processes: the same answers in the same order as in one process, and a word for a process that was killed."""

import multiprocessing
import os
import signal
import threading
import time

import pytest
import torch
from processes import is_running
from random_models import words

from calque.catalog import architecture
from calque.errors import ResourceError
from calque.model import ModelConfig, build
from calque.predict.predictor import Predictor
from calque.predict.workers import Workers, spread
from calque.search.options import SearchConfig
from calque.system.signals import Interruption
from calque.tasks.kinds import TaskConfig

LINES = [f"s{number % 19} s{number % 7} s{number % 3}"[: 2 + number % 9] for number in range(60)]


@pytest.fixture
def predictor() -> Predictor:
    """Return an untrained model."""
    torch.manual_seed(3)
    text = words()
    config = ModelConfig.model_validate(architecture("transformer", "tiny"))
    model = build(config, text.source.vocab_size, text.target.vocab_size).eval()
    return Predictor(model, text, SearchConfig(beam=2, n_best=2, max_length_extra=4), TaskConfig(), 40)


def test_workers_answer_what_one_process_answers(predictor: Predictor) -> None:
    alone = predictor.answers(LINES, batch_size=7)
    told: list[int] = []
    with Workers(predictor, 2) as workers:
        assert predictor.answers(LINES, batch_size=7, done=told.append) == alone
        assert workers.pool is not None
    assert sum(told) == len(LINES)
    assert predictor.workers is None


def test_few_batches_stay_in_this_process(predictor: Predictor) -> None:
    with Workers(predictor, 2) as workers:
        assert predictor.answers(LINES[:14], batch_size=7) == predictor.answers(LINES[:14], batch_size=7)
        assert workers.pool is None


def test_a_killed_process_is_told(predictor: Predictor) -> None:
    with Workers(predictor, 2) as workers:
        predictor.answers(LINES, batch_size=7)
        assert workers.pool is not None
        for process in list(workers.pool._processes):
            os.kill(process, signal.SIGKILL)
        with pytest.raises(ResourceError, match="--batch"):
            predictor.answers(LINES, batch_size=7)


def test_a_process_killed_beside_a_busy_one_is_told_during_a_training(predictor: Predictor) -> None:
    """A training catches the signal that asks to leave, and so would its children: they are not asked."""

    def kill_one() -> None:
        os.kill(next(iter(workers.children)).pid, signal.SIGKILL)

    with Interruption(), Workers(predictor, 2) as workers:
        predictor.answers(LINES, batch_size=7)
        assert len(workers.children) == 2
        timer = threading.Timer(0.3, kill_one)
        timer.start()
        with pytest.raises(ResourceError, match="--batch"):
            predictor.answers(LINES * 1000, batch_size=7)
        timer.join()
    assert not any(child.is_alive() for child in workers.children)


def test_processes_do_not_outlive_a_killed_parent(predictor: Predictor) -> None:
    """They wait for work at a pipe that they hold open themselves: only the system tells them."""
    reader, writer = os.pipe()
    parent = os.fork()
    if parent == 0:
        with Workers(predictor, 2) as workers:
            predictor.answers(LINES, batch_size=7)
            os.write(writer, " ".join(str(child.pid) for child in workers.children).encode())
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(parent, 0)
    numbers = [int(number) for number in os.read(reader, 100).split()]
    assert len(numbers) == 2
    deadline = time.monotonic() + 10
    while any(map(is_running, numbers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    orphans = [number for number in numbers if is_running(number)]
    for number in orphans:
        os.kill(number, signal.SIGKILL)
    assert orphans == []


def test_what_cannot_fork_answers_alone(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with spread(predictor):
            assert predictor.workers is None
            assert len(predictor.answers(LINES)) == len(LINES)
    finally:
        torch.set_num_threads(before)


def test_spread_takes_as_many_processes_as_there_are_threads(predictor: Predictor) -> None:
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            with spread(predictor):
                assert torch.get_num_threads() == 1
                assert (predictor.workers is None) == (threads == 1)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
