"""Every item of a run's state is needed: left out in turn, a resumed run differs. Averages answer and are saved."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_laws_resume import SAVE_EVERY, VALIDATE_EVERY, Killed, Trap, kill, result, run
from torch import nn

from calque.folder.checkpoint import Snapshot
from calque.runs import session
from calque.training import run as run_module
from calque.training.optimizers.adam import Adam, AdamConfig
from calque.training.state import Stateful, put_back
from calque.training.validation import validate

ITEMS = ("model", "optimizer", "position", "random", "patience", "elapsed", "ending")
QUICK = ("optimizer",)
# After the first validation and a later checkpoint: the best is of an earlier step.
CUT = 2 * SAVE_EVERY + 1
assert VALIDATE_EVERY < CUT


class Clock:
    """A clock that moves by a second whenever it is read."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 1.0
        return self.now


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "pairs.tsv"
    lines = sorted({f"{number:b}".replace("0", "a").replace("1", "b") for number in range(2, 180)})
    path.write_text("".join(f"{line}\t{line[::-1]}\n" for line in lines), encoding="utf-8")
    return path


def outcome(folder: Path) -> tuple[dict[str, str], float]:
    """Return the hashes of all that a run leaves, and its seconds of training."""
    last = folder / "checkpoints" / (folder / "latest").read_text("utf-8").strip()
    return result(folder), json.loads((last / "state.json").read_text("utf-8"))["elapsed"]["seconds"]


def cut_and_resumed(folder: Path, pairs: Path, monkeypatch: pytest.MonkeyPatch, at_end: bool) -> None:
    """Kill a run in the middle, or after its last checkpoint, and start it again."""
    if at_end:
        with monkeypatch.context() as patch:
            patch.setattr(session, "_complete", lambda *_: kill())
            with pytest.raises(Killed):
                run(folder, pairs, "lstm")
    else:
        with pytest.raises(Killed):
            run(folder, pairs, "lstm", Trap(CUT, kill))
    run(folder, pairs, "lstm")


def leave_out(name: str) -> Callable[[Mapping[str, Stateful], Snapshot], None]:
    """Return what restores all items but one."""

    def put_back_others(parts: Mapping[str, Stateful], snapshot: Snapshot) -> None:
        kept = Stateful()
        # The model's weights are always asked for; here nothing takes them.
        put_back({key: kept if key == name else part for key, part in parts.items()}, snapshot)

    return put_back_others


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "time", Clock())


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in ITEMS]
)
def test_a_run_without_one_item_of_the_state_differs(
    name: str, pairs: Path, tmp_path: Path, clock: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[set[str]] = []

    def watched(parts: Mapping[str, Stateful], snapshot: Snapshot) -> None:
        seen.append(set(parts))
        put_back(parts, snapshot)

    monkeypatch.setattr(run_module, "put_back", watched)
    if name == "patience":
        # Later validations are worse, so that the best is one before the cut.
        monkeypatch.setattr(
            run_module, "validate", lambda *given: replace(validate(*given), loss=-validate(*given).loss)
        )
    run(tmp_path / "whole", pairs, "lstm")
    expected, seconds = outcome(tmp_path / "whole")
    cut_and_resumed(tmp_path / "all", pairs, monkeypatch, at_end=name == "ending")
    # The list of this test is the list of a run.
    assert seen == [set(ITEMS)]
    found, found_seconds = outcome(tmp_path / "all")
    # Seconds between the last checkpoint and the kill are counted twice; the clock is read a few times an update.
    assert found == expected
    assert abs(found_seconds - seconds) <= SAVE_EVERY
    monkeypatch.setattr(run_module, "put_back", leave_out(name))
    cut_and_resumed(tmp_path / "without", pairs, monkeypatch, at_end=name == "ending")
    found, found_seconds = outcome(tmp_path / "without")
    assert found != expected or abs(found_seconds - seconds) > SAVE_EVERY


class Averaging(Adam):
    """Adam whose averages answer."""

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Make one update, and follow the weights."""
        super().step(closure)
        for group in self.param_groups:
            group["taken"] = group.get("taken", 0) + 1
            for parameter in group["params"]:
                average = self.state[parameter].setdefault("average", parameter.detach().clone())
                average.lerp_(parameter, 1 / group["taken"])

    @contextmanager
    def answering_weights(self) -> Iterator[None]:
        """Put the averages in place while entered."""
        trained = {parameter: parameter.detach().clone() for parameter in self.state}
        with torch.no_grad():
            for parameter, state in self.state.items():
                parameter.copy_(state["average"])
            yield
            for parameter, value in trained.items():
                parameter.copy_(value)


def test_averages_answer_and_are_saved_and_training_goes_on_without_them(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(config: AdamConfig, parameters: Iterable[nn.Parameter], lr: float) -> Averaging:
        return Averaging(list(parameters), lr=lr, betas=(config.beta1, config.beta2), weight_decay=0.0, fused=True)

    run(tmp_path / "plain", pairs, "lstm")
    monkeypatch.setattr(AdamConfig, "build", build)
    run(tmp_path / "averaged", pairs, "lstm")
    plain, averaged = result(tmp_path / "plain"), result(tmp_path / "averaged")
    assert averaged["last weights"] == plain["last weights"]
    assert averaged["best weights"] != plain["best weights"]
    # The whole resumes bit for bit, averages and counts of groups included.
    cut_and_resumed(tmp_path / "resumed", pairs, monkeypatch, at_end=False)
    assert result(tmp_path / "resumed") == averaged
    last = tmp_path / "averaged" / "checkpoints" / (tmp_path / "averaged" / "latest").read_text("utf-8").strip()
    assert any(".average" in name for name in load_file(last / "optimizer.safetensors"))
