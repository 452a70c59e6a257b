"""The number of threads that answers soonest is found by trying, and remembered for the same model and machine."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from random_models import narrow, redrawn, words

from calque import latency
from calque.engines.compiled import CompiledTransformer
from calque.engines.compiled_search import Compiled
from calque.latency import soonest, use_soonest
from calque.model import ModelConfig
from calque.predict import Predictor
from calque.search.options import SearchConfig
from calque.tasks.kinds import TaskConfig


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


@pytest.mark.parametrize(("seconds", "expected"), [({1: 0.1, 4: 0.3}, 1), ({1: 0.3, 4: 0.1}, 4), ({1: 9.0, 4: 9.5}, 1)])
def test_the_fastest_is_taken(seconds: dict[int, float], expected: int) -> None:
    clock, tried = Clock(), list[int]()

    def work(count: int) -> None:
        # The first time costs more, whatever is tried.
        clock.now += seconds[count] + (5.0 if not tried else 0.0)
        tried.append(count)

    assert soonest(tuple(seconds), work, clock) == expected
    # Each was tried, and no new round began after the time was up.
    assert set(tried[1:]) == set(seconds)
    assert len(tried) <= 1 + 2 * (1 + latency.SECONDS / min(seconds.values()))


@pytest.mark.usefixtures("two_threads")
def test_what_was_found_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, ...]] = []

    def found(counts: tuple[int, ...], work: object) -> int:
        asked.append(counts)
        return 1

    monkeypatch.setattr(latency, "soonest", found)
    for _ in range(2):
        torch.set_num_threads(2)
        use_soonest(predictor(), lambda: None)
        assert torch.get_num_threads() == 1
    torch.set_num_threads(2)
    use_soonest(predictor("lstm"), lambda: None)
    assert asked == [(1, 2), (1, 2)]


@pytest.mark.usefixtures("two_threads", "compiler")
def test_trying_leaves_no_trace_and_engines_of_their_own_are_left_alone() -> None:
    model = predictor()
    line = "s1 " * 60

    def answer() -> None:
        model.answers([line])

    answer()
    assert model.long_lines == 1
    use_soonest(model, answer)
    assert model.long_lines == 1
    assert torch.get_num_threads() in (1, 2)
    torch.set_num_threads(2)
    other = predictor("transformer")
    other.engine = Compiled(CompiledTransformer(other.model, is_narrow=False))
    use_soonest(other, lambda: pytest.fail("tried"))
    assert torch.get_num_threads() == 2
