"""Atomic writing: the old content or the new one, and nothing left beside it."""

import errno
import hashlib
import os
from pathlib import Path

import pytest

from calque.errors import ResourceError
from calque.folder.journal import Journal
from calque.system.files import cannot_write, remove_temporaries, replacing, sha256_of, write_atomic


def test_write_replaces_the_whole_file(tmp_path):
    path = tmp_path / "notes.txt"
    write_atomic(path, "first line\r\nsecond\n")
    assert path.read_bytes() == b"first line\r\nsecond\n"
    write_atomic(path, b"\xff")
    assert path.read_bytes() == b"\xff"
    assert sha256_of(path) == hashlib.sha256(b"\xff").hexdigest()
    assert [entry.name for entry in tmp_path.iterdir()] == ["notes.txt"]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "notes.txt"
    write_atomic(path, "old")
    with pytest.raises(ZeroDivisionError), replacing(path) as temporary:
        temporary.write_text("half of the n" + str(1 // 0 * len(temporary.name)))
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["notes.txt"]


def test_only_temporaries_of_the_dead_are_removed(tmp_path):
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    for name in (f".a.tmp-{child}", f".b.tmp-{os.getpid()}", f".c.tmp-{os.getppid()}", ".d.tmp-x", "e.tmp-1"):
        (tmp_path / name).touch()
    remove_temporaries(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([f".c.tmp-{os.getppid()}", ".d.tmp-x", "e.tmp-1"])


def test_write_error_names_path_and_bytes(tmp_path):
    error = cannot_write(tmp_path / "new" / "file", OSError(28, "No space left on device"), 12345)
    assert str(tmp_path / "new" / "file") in str(error)
    assert "No space left" in str(error)
    assert "12,345 bytes; free there: " in str(error)


def test_a_working_folder_that_is_gone_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    error = cannot_write(Path("runs/file"), OSError(2, "No such file or directory"), 12345)
    assert "Cannot write runs/file: No such file or directory" in str(error)


def test_a_journal_that_cannot_reach_the_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some file systems refuse only when a file is synced; a training then retries, as after every failed save."""
    with Journal(tmp_path / "metrics.jsonl", 0) as journal:
        journal.write({"step": 1})

        def fail(descriptor: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fail)
            with pytest.raises(ResourceError, match=r"metrics\.jsonl: No space left[^\n]*\nNeeded: .* free there"):
                journal.mark()
        assert journal.mark()["bytes"] == (tmp_path / "metrics.jsonl").stat().st_size
