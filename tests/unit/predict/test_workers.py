"""Several processes: the same answers in the same order as one process, and none of them outlives the call."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from processes import is_running
from random_models import words
from torch import Tensor

from calque.batch import Source
from calque.catalog import architecture
from calque.engines.engine import Engine
from calque.errors import ResourceError
from calque.model import ModelConfig, build
from calque.predict.predictor import Predictor, single
from calque.search.hypotheses import Hypotheses
from calque.search.options import SearchConfig
from calque.system.signals import Interruption
from calque.tasks.kinds import TaskConfig

LINES = [f"s{number % 19} s{number % 7} s{number % 3}"[: 2 + number % 9] for number in range(60)]


class Echo:
    """An engine that answers with the tokens that it reads, without any arithmetic."""

    owns_threads = False

    def __call__(self, source: Source, lengths: Tensor, prefixes: Tensor, options: SearchConfig) -> Hypotheses:
        tokens = source.tokens[:, :-1].clamp(4, 20)[:, None]
        return Hypotheses(tokens, lengths[:, None] - 1, lengths[:, None] * -0.1, lengths[:, None] * -0.2)


class Slow:
    """An engine that takes its time, and notes in a folder which processes search, with how many threads.

    A search takes `seconds` in the process that made the engine, and `elsewhere` (by default as long) in another.
    """

    owns_threads = False

    def __init__(self, engine: Engine, folder: Path, seconds: float, elsewhere: float | None = None) -> None:
        self.engine, self.folder, self.seconds = engine, folder, seconds
        self.elsewhere = seconds if elsewhere is None else elsewhere
        self.maker = os.getpid()

    def __call__(self, source: Source, lengths: Tensor, prefixes: Tensor, options: SearchConfig) -> Hypotheses:
        (self.folder / str(os.getpid())).write_text(str(torch.get_num_threads()))
        time.sleep(self.seconds if os.getpid() == self.maker else self.elsewhere)
        return self.engine(source, lengths, prefixes, options)

    @property
    def processes(self) -> dict[int, int]:
        """Return the number of threads of each process that searched."""
        return {int(path.name): int(path.read_text() or 0) for path in self.folder.iterdir()}


@pytest.fixture
def predictor() -> Predictor:
    """Return an untrained model."""
    torch.manual_seed(3)
    text = words()
    config = ModelConfig.model_validate(architecture("transformer", "tiny"))
    model = build(config, text.source.vocab_size, text.target.vocab_size).eval()
    return single(model, text, SearchConfig(beam=2, n_best=2, max_length_extra=4), TaskConfig(), 40)


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    """Let torch use two threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def slow(
    predictor: Predictor, folder: Path, seconds: float = 0.06, engine: Engine | None = None
) -> tuple[Predictor, Slow]:
    """Return the predictor with an engine for which more processes are worth their start."""
    engine = Slow(engine or Echo(), folder, seconds)
    return predictor.with_engine(engine, "slow: for tests"), engine


def test_several_processes_answer_what_one_answers(predictor: Predictor, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    alone = predictor.answers(LINES, batch_size=5)
    torch.set_num_threads(2)
    many, engine = slow(predictor, tmp_path, engine=predictor.engine)
    assert many.answers(LINES, batch_size=5) == alone
    # The first batch is searched here, to see how long it takes; each process has one thread.
    assert os.getpid() in engine.processes
    assert len(engine.processes) == 3
    assert set(engine.processes.values()) == {1}
    assert torch.get_num_threads() == 2
    assert many([*LINES, ""], batch_size=5) == [*[answers[0].text for answers in alone], ""]


def test_quick_work_stays_in_this_process(predictor: Predictor, tmp_path: Path) -> None:
    quick, engine = slow(predictor, tmp_path, 0.0)
    quick.answers(LINES[:14], batch_size=7)
    assert set(engine.processes) == {os.getpid()}


@pytest.mark.parametrize("where", ["thread", "daemon", "one thread", "processes=1", "threads of its own"])
def test_where_more_processes_cannot_help_one_answers(
    where: str, predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many, engine = slow(predictor, tmp_path)
    if where == "daemon":
        monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)
    elif where == "one thread":
        torch.set_num_threads(1)
    elif where == "processes=1":
        many = replace(many, processes=1)
    elif where == "threads of its own":
        monkeypatch.setattr(engine, "owns_threads", True)
    if where == "thread":
        with ThreadPoolExecutor(1) as threads:
            found = threads.submit(many.answers, LINES, 5).result()
    else:
        found = many.answers(LINES, 5)
    assert found == predictor.with_engine(Echo(), "echo").answers(LINES)
    assert set(engine.processes) == {os.getpid()}


def test_processes_end_with_the_call(predictor: Predictor, tmp_path: Path) -> None:
    many, engine = slow(predictor, tmp_path)
    many.answers(LINES, batch_size=5)
    others = set(engine.processes) - {os.getpid()}
    assert len(others) == 2
    assert not any(map(is_running, others))


def in_a_while(seconds: float, folder: Path, action: object) -> threading.Thread:
    """Call `action` with the processes that search, some time after the last of them has begun."""

    def wait() -> None:
        deadline = time.monotonic() + 20
        while len(list(folder.iterdir())) < 3 and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(seconds)
        assert callable(action)
        action([int(path.name) for path in folder.iterdir() if int(path.name) != os.getpid()])

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_a_killed_process_is_an_error_with_advice(predictor: Predictor, tmp_path: Path) -> None:
    """Also during a training, which catches SIGTERM, and so would the processes."""
    many, engine = slow(predictor, tmp_path)
    with Interruption():
        killer = in_a_while(0.1, tmp_path, lambda numbers: os.kill(numbers[0], signal.SIGKILL))
        with pytest.raises(ResourceError, match=r"--batch .*--threads 1"):
            many.answers(LINES * 20, batch_size=5)
        killer.join()
    assert not any(map(is_running, set(engine.processes) - {os.getpid()}))
    assert torch.get_num_threads() == 2
    # The next call starts again.
    assert len(many.answers(LINES, batch_size=5)) == len(LINES)


def test_ctrl_c_ends_every_process(predictor: Predictor, tmp_path: Path) -> None:
    """A terminal sends SIGINT to all processes; the call must not wait for the searches that are running."""
    engine = Slow(Echo(), tmp_path, seconds=0.06, elsewhere=60)
    many, began = predictor.with_engine(engine, "slow: for tests"), time.monotonic()

    def press(children: list[int]) -> None:
        for number in (*children, os.getpid()):
            os.kill(number, signal.SIGINT)

    killer = in_a_while(0.1, tmp_path, press)
    with pytest.raises(KeyboardInterrupt):
        many.answers(LINES * 20, batch_size=5)
    killer.join()
    others = set(engine.processes) - {os.getpid()}
    assert len(others) == 2
    assert not any(map(is_running, others))
    assert time.monotonic() - began < 30, "the call waited for searches that take 60 seconds"
    assert torch.get_num_threads() == 2


def test_processes_do_not_outlive_a_killed_parent(predictor: Predictor, tmp_path: Path) -> None:
    """They wait for work at a pipe that they hold open themselves: only the system tells them."""
    many, engine = slow(predictor, tmp_path)
    parent = os.fork()
    if parent == 0:
        in_a_while(0.0, tmp_path, lambda numbers: os.kill(os.getpid(), signal.SIGKILL))
        many.answers(LINES * 20, batch_size=5)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(parent, 0)[1]) == -signal.SIGKILL
    others = set(engine.processes) - {parent}
    assert len(others) == 2
    deadline = time.monotonic() + 10
    while any(map(is_running, others)) and time.monotonic() < deadline:
        time.sleep(0.05)
    orphans = [number for number in others if is_running(number)]
    for number in orphans:
        os.kill(number, signal.SIGKILL)
    assert orphans == []
