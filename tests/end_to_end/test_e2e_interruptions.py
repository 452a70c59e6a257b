"""A signal is seen within a second in every phase of a run, and the same command then ends with the same bytes."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from toy_language import BRIEF, write_pairs

from calque.report.progress import SilentDisplay
from calque.runs import prepare, session
from calque.runs.request import Named, make_request
from calque.runs.session import run_training
from calque.tasks.table import DEFAULT_TASK
from calque.training import run as training
from calque.training.gradients.here import GradientsHere
from calque.training.run import Outcome


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("interruptions") / "digits.en-zh.tsv")


def trained(data: Path, out: Path) -> Outcome | None:
    named = Named("gru", "tiny", DEFAULT_TASK, None)
    return run_training(make_request([str(data)], out, named, [*BRIEF, "train.threads=1"]), False, SilentDisplay())


@pytest.fixture(scope="module")
def whole(data: Path) -> Path:
    """Return the folder of a run without interruption."""
    trained(data, data.parent / "whole")
    return data.parent / "whole"


def once(call: Callable[..., Any], at: int, after: bool) -> Callable[..., Any]:
    """Return `call`, during whose call number `at` the process gets SIGTERM and would then work on for long."""
    calls = 0

    def interrupted(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at and after:
            call(*arguments, **options)
        if calls == at:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(20)
        return call(*arguments, **options)

    return interrupted


PHASES: dict[str, tuple[object, str, int, int]] = {
    "learning a tokenizer": (prepare, "train_text", 1, 0),
    "encoding the data": (prepare, "open_store", 1, 0),
    "an update": (GradientsHere, "accumulate", 3, 2),
    "the first validation": (training, "validate", 1, 2),
    "the last validation": (training, "validate", 2, 4),
    "the final scoring": (session, "score_examples", 1, 0),
}


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_signal_is_seen_within_a_second(
    data: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, phase: str, after: bool
) -> None:
    place, name, at, step = PHASES[phase]
    out = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr(place, name, once(getattr(place, name), at, after))
        start = time.monotonic()
        outcome = trained(data, out)
    assert time.monotonic() - start < 15
    assert outcome is not None
    assert (outcome.signal, outcome.step) == (signal.SIGTERM, step)
    finished = trained(data, out)
    assert finished is not None
    assert finished.signal == 0
    for file in ("model.safetensors", "metrics.jsonl", "recipe.json"):
        assert (out / file).read_bytes() == (whole / file).read_bytes(), file


def test_a_second_signal_leaves_at_once(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def twice(*arguments: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(training, "save_checkpoint", twice)
    with pytest.raises(KeyboardInterrupt):
        trained(data, tmp_path / "run")


def test_checkpoints_come_by_minutes_too(data: Path, tmp_path: Path) -> None:
    lines = [*(line for line in BRIEF if "save_every" not in line), "train.save_minutes=0.000001"]
    request = make_request([str(data)], tmp_path / "run", Named("gru", "tiny", DEFAULT_TASK, None), lines)
    run_training(request, False, SilentDisplay())
    steps = sorted(path.name for path in (tmp_path / "run" / "checkpoints").glob("step-*"))
    assert steps == ["step-000003", "step-000004"]
