"""Law 9: stopped and resumed equals uninterrupted, bit for bit, dropout on, across an epoch border."""

import hashlib
import json
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from calque.folder.checkpoint import load_checkpoint
from calque.report.progress import SilentDisplay, UpdateEvent, ValidEvent
from calque.runs.request import Named, make_request
from calque.runs.session import run_training

VALIDATE_EVERY, SAVE_EVERY, EPOCHS = 4, 3, 2
TINY = {"layers": 1, "width": 16, "dropout": 0.2}
PARTS = {
    "transformer": TINY | {"kind": "transformer", "heads": 2, "feed_forward": 24, "attention_dropout": 0.1},
    "lstm": TINY | {"kind": "lstm"},
    "transformer of two processes": TINY | {"kind": "transformer", "heads": 2, "feed_forward": 24},
}
SETTINGS = {
    "text.kind": '"character"',
    "search.beam": "2",
    "task.metrics": '["exact"]',
    "train.threads": "1",
    "train.precision": '"fp32"',
    "train.batch_tokens": "140",
    "train.micro_batch_tokens": "50",
    "train.max_epochs": str(EPOCHS),
    "train.lr": "0.01",
    "train.schedule": '"constant"',
    "train.warmup": "5",
    "train.patience": "50",
    "train.validation_sentences": "8",
    "train.validate_every": str(VALIDATE_EVERY),
    "train.save_every": str(SAVE_EVERY),
}


class Killed(BaseException):
    """End a run as a kill does: nothing in the run catches it."""


class Trap(SilentDisplay):
    """Call `act` once, at update `step`, or at the validation of that step."""

    def __init__(self, step: int, act: Callable[[], None], at_validation: bool = False) -> None:
        self.step, self.act, self.at_validation = step, act, at_validation
        self.steps: list[tuple[int, int]] = []

    def update(self, event: UpdateEvent) -> None:
        self.steps.append((event.step, event.epoch))
        if event.step == self.step and not self.at_validation:
            self.act()

    def validated(self, event: ValidEvent) -> None:
        if event.step == self.step and self.at_validation:
            self.act()


def kill() -> None:
    raise Killed


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Path:
    """Write pairs of letters and their reversal."""
    draw = random.Random(3)
    lines = {"".join(draw.choices("abcdef", k=draw.randint(2, 7))) for _ in range(240)}
    path = tmp_path_factory.mktemp("data") / "pairs.tsv"
    path.write_text("".join(f"{line}\t{line[::-1]}\n" for line in sorted(lines)), encoding="utf-8")
    return path


def run(folder: Path, pairs: Path, part: str, display: SilentDisplay | None = None, **changes: str) -> None:
    """Start a run, or continue it."""
    values = {
        f"model.{side}.{key}": json.dumps(value)
        for side in ("encoder", "decoder")
        for key, value in PARTS[part].items()
    }
    if part == "lstm":
        values["model.decoder.attention.kind"] = '"additive"'
    if part == "transformer of two processes":
        values |= {"train.threads": "2", "train.parallel": '"processes"'}
    changed = {f"train.{key}": value for key, value in changes.items()}
    lines = [f"{key}={value}" for key, value in (SETTINGS | values | changed).items()]
    request = make_request([str(pairs)], folder, Named("auto", "tiny", "translation", "xx-xx"), lines)
    run_training(request, fresh=False, display=display or SilentDisplay())


def result(folder: Path) -> dict[str, str]:
    """Return the hashes of all that a run leaves, except the seconds that it took."""
    last = folder / "checkpoints" / (folder / "latest").read_text("utf-8").strip()
    files = {
        "best weights": folder / "model.safetensors",
        "last weights": last / "model.safetensors",
        "optimizer and generators": last / "optimizer.safetensors",
        "metrics": folder / "metrics.jsonl",
    }
    hashes = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
    state = json.loads((last / "state.json").read_text("utf-8"))
    state.pop("elapsed")
    return hashes | {"state": json.dumps(state, sort_keys=True)}


@pytest.fixture(scope="module", params=list(PARTS))
def whole(request, pairs, tmp_path_factory):
    """Train without interruption: the part, its result, and the epoch of each update."""
    folder = tmp_path_factory.mktemp(request.param) / "run"
    display = Trap(-1, kill)
    run(folder, pairs, request.param, display)
    epochs = [epoch for _, epoch in display.steps]
    assert [step for step, _ in display.steps] == list(range(1, len(epochs) + 1))
    # What follows relies on several updates an epoch, whose border is neither a validation nor a checkpoint.
    assert epochs[-1] == EPOCHS
    assert epochs.index(2) > VALIDATE_EVERY
    return request.param, result(folder), epochs


def step_of(place: str, epochs: list[int]) -> int:
    """Return the update at which a run is cut."""
    border = epochs.index(2)
    steps = {
        "before the first checkpoint": SAVE_EVERY - 1,
        "in the middle of an epoch": border - 2,
        "at the border of epochs": border,
        "after the border": border + 1,
    }
    return steps[place]


@pytest.mark.parametrize(
    ("act", "place"),
    [
        (kill, "before the first checkpoint"),
        (kill, "in the middle of an epoch"),
        (kill, "after the border"),
        (terminate, "in the middle of an epoch"),
        (terminate, "at the border of epochs"),
    ],
)
def test_resumed_equals_uninterrupted(whole, pairs, tmp_path, act: Callable[[], None], place: str) -> None:
    part, expected, epochs = whole
    step = step_of(place, epochs)
    if act is kill:
        with pytest.raises(Killed):
            run(tmp_path / "run", pairs, part, Trap(step, act))
    else:
        run(tmp_path / "run", pairs, part, Trap(step, act))
        found = load_checkpoint(tmp_path / "run", warn=pytest.fail)
        assert found is not None
        assert found[1].state["position"]["step"] == step
    display = Trap(-1, kill)
    run(tmp_path / "run", pairs, part, display)
    # A kill loses what came after the last checkpoint, a signal nothing.
    assert display.steps[0][0] == (step + 1 if act is terminate else (step - 1) // SAVE_EVERY * SAVE_EVERY + 1)
    assert result(tmp_path / "run") == expected


def test_killed_between_validation_and_checkpoint(whole, pairs, tmp_path) -> None:
    """The best weights were written already, the state that knows of them was not."""
    part, expected, _ = whole
    with pytest.raises(Killed):
        run(tmp_path / "run", pairs, part, Trap(2 * VALIDATE_EVERY, kill, at_validation=True))
    run(tmp_path / "run", pairs, part)
    assert result(tmp_path / "run") == expected


def test_interrupted_again_and_again(whole, pairs, tmp_path) -> None:
    part, expected, epochs = whole
    for step in range(4, len(epochs), 6):
        with pytest.raises(Killed):
            run(tmp_path / "run", pairs, part, Trap(step, kill))
    run(tmp_path / "run", pairs, part)
    assert result(tmp_path / "run") == expected


def test_a_shorter_run_that_is_prolonged(whole, pairs, tmp_path) -> None:
    """With a constant rate an update does not depend on the length of the run; the end falls on a validation."""
    part, expected, epochs = whole
    run(tmp_path / "run", pairs, part, max_updates=str(3 * VALIDATE_EVERY))
    display = Trap(-1, kill)
    run(tmp_path / "run", pairs, part, display, max_updates="0")
    assert [step for step, _ in display.steps] == list(range(3 * VALIDATE_EVERY + 1, len(epochs) + 1))
    assert result(tmp_path / "run") == expected


def test_without_dropouts_generator_it_would_differ(whole, pairs, tmp_path, monkeypatch) -> None:
    """The comparison sees a part of the state that is not restored."""
    part, expected, _ = whole
    with pytest.raises(Killed):
        run(tmp_path / "run", pairs, part, Trap(SAVE_EVERY + 1, kill))
    monkeypatch.setattr("calque.training.state.RandomState.restore", lambda *_: None)
    run(tmp_path / "run", pairs, part)
    assert result(tmp_path / "run")["last weights"] != expected["last weights"]
