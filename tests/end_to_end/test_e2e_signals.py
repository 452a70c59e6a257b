"""Signals and kills in the middle of training: the run continues from its checkpoint, and files stay readable."""

import json
import re
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from toy_language import TINY, Finished, finish, start, train_command, write_pairs

LONG = (
    *TINY,
    "train.batch_tokens=64",
    "train.max_updates=80",
    "train.validate_every=40",
    "train.save_every=20",
    "train.validation_sentences=8",
    "search.beam=2",
)


def started(arguments: list[str]) -> tuple[subprocess.Popen[bytes], str]:
    """Start a training and wait for its first update; return the process and what it said so far."""
    process = start(*arguments)
    assert process.stderr is not None
    said = ""
    while line := process.stderr.readline().decode():
        said += line
        if line.startswith("step "):
            return process, said
    raise AssertionError(f"it ended before its first update: {said}")


def steps(run: Path) -> list[int]:
    """Return the updates that metrics.jsonl tells of; each of its lines must be whole."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [row["step"] for row in rows if row["kind"] == "train"]


@dataclass(frozen=True)
class Whole:
    """Hold a whole run: its data, its folder, and how many processes shared its updates."""

    data: Path
    run: Path
    threads: str

    def arguments(self, run: Path) -> list[str]:
        """Return the command that repeats it in another folder."""
        return [*train_command(self.data, run, LONG), "--threads", self.threads]


@pytest.fixture(scope="module", params=["1", "2"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """Train without interruption."""
    from calque.cli.main import main

    folder = tmp_path_factory.mktemp("whole")
    made = Whole(write_pairs(folder / "digits.en-zh.tsv", 400), folder / "run", request.param)
    with pytest.raises(SystemExit) as ended:
        main([*made.arguments(folder / "run"), "--quiet"])
    assert ended.value.code == 0
    recipe = json.loads((folder / "run/recipe.json").read_text(encoding="utf-8"))
    assert recipe["train"]["parallel"] == ("threads" if request.param == "1" else "processes")
    return made


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_the_same_command_ends_as_an_uninterrupted_run(
    number: signal.Signals,
    code: int,
    whole: Whole,
    tmp_path: Path,
    command: Callable[..., Finished],
) -> None:
    """Exit with the signal's code after saving; continue from there to the same bytes."""
    arguments = whole.arguments(tmp_path / "run")
    process, said = started(arguments)
    process.send_signal(number)
    ended = finish(process)
    assert ended.code == code
    assert "the same command continues" in ended.err
    assert "\r" not in said + ended.err
    assert "\x1b" not in said + ended.err
    before = steps(tmp_path / "run")
    assert 0 < len(before) < 80
    resumed = command(*arguments)
    assert resumed.code == 0, resumed.err
    found = re.search(r"resumed from step-0*(\d+)", resumed.err)
    assert found
    assert int(found[1]) == before[-1]
    assert steps(tmp_path / "run") == list(range(1, 81))
    for name in ("model.safetensors", "metrics.jsonl"):
        assert (tmp_path / "run" / name).read_bytes() == (whole.run / name).read_bytes(), name


def test_metrics_stay_readable_after_a_kill(whole: Whole, tmp_path: Path, command: Callable[..., Finished]) -> None:
    """Kill at an arbitrary moment: each line is JSON, no lock stays, and the same command ends as if nothing was."""
    arguments = whole.arguments(tmp_path / "run")
    process, _ = started(arguments)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    killed = steps(tmp_path / "run")
    assert killed == list(range(1, len(killed) + 1))
    assert command(*arguments).code == 0
    assert (tmp_path / "run/metrics.jsonl").read_bytes() == (whole.run / "metrics.jsonl").read_bytes()


def test_a_second_trainer_is_refused(whole: Whole, tmp_path: Path, command: Callable[..., Finished]) -> None:
    """Exit 4 naming the process that holds the folder, and leave that one in peace."""
    arguments = train_command(
        whole.data, tmp_path / "run", (*LONG, "train.max_updates=100000", "train.max_epochs=100000")
    )
    process, _ = started(arguments)
    try:
        second = command(*arguments)
        assert second.code == 4
        assert str(process.pid) in second.err
        assert process.poll() is None
    finally:
        process.send_signal(signal.SIGTERM)
        ended = finish(process)
    assert ended.code == 143
