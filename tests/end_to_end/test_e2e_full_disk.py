"""A full disk or output is one message with the path and exit code 4; a closed output is quiet."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from toy_language import BRIEF, MAIN, Finished, train_command, write_pairs

from calque.errors import ResourceError
from calque.folder.lock import RunLock

Command = Callable[..., Finished]


@pytest.mark.parametrize("verb", ["info", "eval", "check", "recipe", "generate"])
def test_a_full_output_is_one_message(toy_model: Path, toy_data: Path, verb: str) -> None:
    arguments = {
        "info": [toy_model],
        "eval": [toy_model, toy_data, "--beam", "1"],
        "check": [toy_data],
        "recipe": [],
        "generate": [toy_model, "one two"],
    }[verb]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", MAIN, verb, *map(str, arguments)], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 4, done.stderr
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.parametrize("verb", ["info", "generate", "recipe"])
def test_a_closed_output_is_quiet(toy_model: Path, verb: str) -> None:
    arguments = {"info": [toy_model], "generate": [toy_model, "one two"], "recipe": ["train.lr"]}[verb]
    command = [sys.executable, "-c", MAIN, verb, *map(str, arguments)]
    done = subprocess.run(command, preexec_fn=lambda: os.close(1), stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_a_full_disk_is_named_wherever_a_run_writes(tmp_path: Path, toy_data: Path) -> None:
    """Let no file of the run grow beyond some sizes in turn; after each failure the same command completes the run."""
    data = write_pairs(tmp_path / "digits.en-zh.tsv", 120)
    command = [sys.executable, "-c", MAIN, *train_command(data, tmp_path / "run")]
    for limit in (10, 900, 4_000, 30_000, 60_000):
        done = subprocess.run(command, preexec_fn=limit_files(limit), capture_output=True, text=True)
        assert done.returncode == 4, (limit, done.stderr)
        assert "Traceback" not in done.stderr
        assert str(tmp_path / "run") in done.stderr, (limit, done.stderr)
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not list((tmp_path / "run").rglob("*.tmp-*"))


def limit_files(size: int) -> Callable[[], None]:
    """Return what makes a write beyond `size` bytes fail, as on a full disk."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return limit


def test_sigterm_leaves_no_part_of_an_output(toy_model: Path, tmp_path: Path) -> None:
    lines, out = tmp_path / "lines.txt", tmp_path / "answers.txt"
    lines.write_text("one two three\n" * 200_000)
    command = [sys.executable, "-c", MAIN, "generate", str(toy_model), "--input", str(lines), "--output", str(out)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("*.part-*")) and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)
    assert process.returncode == 143
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lines.txt"]


def test_a_name_of_dots_is_no_folder_of_runs(tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("..tsv", "...tsv"):
        write_pairs(tmp_path / name, 60)
        options = [part for line in BRIEF for part in ("--set", line)]
        done = command("train", name, "--model", "gru", "--size", "tiny", "--fresh", *options)
        assert done.code == 0, done.err
        assert [path.name for path in (tmp_path / "runs").iterdir()] == ["pairs"]


def test_a_lock_that_is_a_link_is_refused_and_its_target_stays(tmp_path: Path) -> None:
    target, run = tmp_path / "precious", tmp_path / "run"
    target.write_text("keep me")
    run.mkdir()
    makers: list[Callable[[Path], object]] = [
        lambda path: path.symlink_to(target),
        lambda path: path.hardlink_to(target),
        os.mkfifo,
        Path.mkdir,
        lambda path: path.symlink_to("/dev/null"),
    ]
    for make in makers:
        make(run / "lock")
        with pytest.raises(ResourceError, match="lock"), RunLock(run):
            pass
        assert target.read_text() == "keep me"
        (run / "lock").rmdir() if (run / "lock").is_dir() else (run / "lock").unlink()
