"""One trainer per folder: the second gets an error that names the first, and no lock outlives its process."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time

import pytest

from calque.errors import ResourceError
from calque.folder.lock import RunLock

HOLD = """
import sys, time
from pathlib import Path
from calque.folder.lock import RunLock
with RunLock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Start a process that holds the lock of `tmp_path`."""
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_the_second_trainer_names_the_first(tmp_path, holder):
    with pytest.raises(ResourceError, match=f"Process {holder.pid} is training") as error, RunLock(tmp_path):
        pass
    assert str(tmp_path) in str(error.value)
    assert "--out" in str(error.value)


def test_the_lock_of_a_killed_trainer_is_taken_over(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / "lock").read_text() == f"{holder.pid}\n"  # stale, and no hindrance
    with RunLock(tmp_path):
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


def test_the_lock_is_free_after_the_block_and_after_an_error(tmp_path):
    run = tmp_path / "runs" / "new"
    lock = RunLock(run)
    for _ in range(2):
        with lock, pytest.raises(ResourceError, match=f"Process {os.getpid()}"), RunLock(run):
            pass
    with pytest.raises(KeyError), lock:
        raise KeyError
    with RunLock(run):
        pass


def test_an_error_leaves_no_folder_that_was_empty(tmp_path):
    run = tmp_path / "runs" / "new"
    for _ in range(2):
        with pytest.raises(KeyError), RunLock(run):
            raise KeyError
        assert not run.exists()
    run.mkdir()
    (run / "notes.txt").write_text("mine")
    with pytest.raises(KeyError), RunLock(run):
        raise KeyError
    assert sorted(path.name for path in run.iterdir()) == ["lock", "notes.txt"]


def test_a_file_that_was_taken_away_in_between_locks_nothing(tmp_path, monkeypatch):
    """Between the opening of a file and its lock, the trainer that held it may have left and taken it along."""
    lock, path = fcntl.flock, tmp_path / "lock"

    def late(descriptor: int, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", lock)
        path.unlink()
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with RunLock(tmp_path):
        assert path.read_text() == f"{os.getpid()}\n"
        with pytest.raises(ResourceError), RunLock(tmp_path):
            pass


def test_a_forked_worker_does_not_keep_the_lock(tmp_path):
    lock = RunLock(tmp_path)
    lock.__enter__()
    ready, tell = os.pipe()
    worker = os.fork()
    if worker == 0:
        os.write(tell, b"x")
        time.sleep(60)
        os._exit(0)
    try:
        os.read(ready, 1)
        os.close(lock._descriptor)  # as the kernel does when the trainer is killed: no unlocking
        with RunLock(tmp_path):
            pass
    finally:
        os.kill(worker, signal.SIGKILL)
        os.waitpid(worker, 0)


def test_a_folder_that_cannot_be_locked_is_reported(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ResourceError, match="Cannot open the lock"), RunLock(tmp_path / "file"):
        pass


@pytest.mark.parametrize("call", ["mkdir", "open"])
def test_a_full_disk_is_named_with_the_free_bytes(tmp_path, monkeypatch, call):
    def fail(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(
        ResourceError, match=r"No space left[^\n]*\nNeeded: 32 bytes; free there: [\d,]+ bytes"
    ) as error:
        RunLock(tmp_path / "new").__enter__()
    assert str(tmp_path / "new") in str(error.value)
