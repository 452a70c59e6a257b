"""The number of threads that answers soonest is found by trying, and remembered for the same model and machine."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from random_models import narrow, redrawn, words

from calque.engines.compiled.search import Compiled
from calque.engines.compiled.transformer import CompiledTransformer
from calque.model import ModelConfig
from calque.predict import threads as latency
from calque.predict.predictor import Predictor
from calque.predict.threads import Threads, soonest
from calque.search.options import SearchConfig
from calque.tasks.kinds import TaskConfig
from calque.text.graph.layout import SourceError


class Clock:
    """Be a clock that only work moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def two_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have torch use two threads, and a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def predictor(kind: str = "gru") -> Predictor:
    """Return an untrained model."""
    text = words()
    model = redrawn(ModelConfig.model_validate(narrow(kind)), text.source.vocab_size, text.target.vocab_size).eval()
    return Predictor(model, text, SearchConfig(beam=1, max_length_extra=4), TaskConfig(), 40)


@pytest.mark.parametrize(("seconds", "expected"), [({1: 0.1, 4: 0.3}, 1), ({1: 0.3, 4: 0.1}, 4), ({1: 0.4, 4: 0.3}, 4)])
def test_the_fastest_is_taken(seconds: dict[int, float], expected: int) -> None:
    clock, tried = Clock(), list[int]()

    def work(count: int) -> None:
        # The first time costs more, whatever is tried.
        clock.now += seconds[count] + (0.15 if not tried else 0.0)
        tried.append(count)

    assert soonest(tuple(seconds), work, clock) == expected
    # Each was tried, and no new round began after the time was up.
    assert set(tried[1:]) == set(seconds)
    assert len(tried) <= 1 + 2 * (1 + latency.SECONDS / min(seconds.values()))


def test_slow_work_is_done_once() -> None:
    clock, tried = Clock(), list[int]()

    def work(count: int) -> None:
        clock.now += 5.0
        tried.append(count)

    assert soonest((1, 4), work, clock) == 4
    assert tried == [4]


def fitted(model: Predictor, lines: list[str], answer: Callable[[], object] = lambda: None) -> int:
    """Return how many threads lines are answered with that come to a fresh start with two."""
    torch.set_num_threads(2)
    Threads(model).fit(lines, answer)
    return torch.get_num_threads()


@pytest.mark.usefixtures("two_threads")
def test_what_was_found_is_remembered_for_the_same_work(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, ...]] = []

    def found(counts: tuple[int, ...], work: object) -> int:
        asked.append(counts)
        return 1

    monkeypatch.setattr(latency, "soonest", found)
    for _ in range(2):
        assert fitted(predictor(), ["s1", ""]) == 1
    assert asked == [(1, 2)]
    others = [predictor("lstm"), predictor(), predictor()]
    others[1].options = SearchConfig(beam=3)
    others[2].engine_said = "int8"
    for number, other in enumerate(others):
        assert fitted(other, ["s1"]) == 1
        assert len(asked) == 2 + number


@pytest.mark.usefixtures("two_threads")
def test_several_lines_get_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "soonest", lambda counts, work: 1)
    threads = Threads(predictor())
    for lines, expected in ((["s1"], 1), (["s1", "s2"], 2), (["", "s2"], 1), ([""], 2)):
        threads.fit(lines, lambda: None)
        assert torch.get_num_threads() == expected, lines


@pytest.mark.usefixtures("two_threads")
def test_a_line_that_cannot_be_read_says_nothing(tmp_path: Path) -> None:
    def refused() -> None:
        raise SourceError("no such line", 0)

    assert fitted(predictor(), ["s1"], refused) == 2
    assert not list(tmp_path.rglob("threads-*"))


@pytest.mark.usefixtures("two_threads")
def test_a_user_without_a_home_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "cache_folder", lambda: None)
    monkeypatch.setattr(latency, "soonest", lambda counts, work: 1)
    assert fitted(predictor(), ["s1"]) == 1


@pytest.mark.usefixtures("two_threads", "compiler")
def test_trying_leaves_no_trace_and_engines_of_their_own_are_left_alone(tmp_path: Path) -> None:
    model = predictor()
    line = "s1 " * 60
    fitted(model, [line], lambda: model.answers([line]))
    # A line in parts was answered a few times, and does not count.
    assert model.long_lines == 0
    assert len(list(tmp_path.rglob("threads-*"))) == 1
    other = predictor("transformer")
    other.engine = Compiled(CompiledTransformer(other.model, is_narrow=False))
    assert fitted(other, ["s1"], lambda: pytest.fail("tried")) == 2
