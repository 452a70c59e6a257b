"""The compile cache: what lies there is loaded only where the user alone can have written it, whole."""

import os
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from calque.engines.compiled import compiler

pytestmark = pytest.mark.usefixtures("compiler")
SOURCE = "int answer(void) { return %d; }\n"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source" / "tiny.c"
    path.parent.mkdir()
    path.write_text(SOURCE % 42)
    return path


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of the cache, which is empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "calque"


def answer(source: Path) -> int:
    """Return what the library answers in a process of its own: a loaded library would be found again by its name."""
    child = os.fork()
    if child == 0:
        try:
            os._exit(int(compiler.compiled(source).answer()) % 256)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def library(cache: Path) -> Path:
    (path,) = cache.glob("*.so")
    return path


def foreign(path: Path) -> None:
    """Compile other code, a digest of it beside it, as somebody who knows the form would."""
    text = path.parent / "foreign.c"
    text.write_text(SOURCE % 66)
    subprocess.run(["cc", "-shared", "-fPIC", str(text), "-o", str(path)], check=True)
    text.unlink()
    compiler.write_digest(path)


def test_the_second_start_loads_what_the_first_compiled(source: Path, cache: Path) -> None:
    assert answer(source) == 42
    before = library(cache).stat()
    assert answer(source) == 42
    assert library(cache).stat().st_mtime_ns == before.st_mtime_ns
    assert not list(cache.glob(".*"))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def become_link(path: Path) -> None:
    other = path.with_name("elsewhere")
    path.rename(other)
    path.symlink_to(other)


def become_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def become_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def writable(path: Path) -> None:
    foreign(path)
    path.chmod(0o777)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "cut": cut,
    "empty": lambda path: path.write_bytes(b""),
    "flipped": flip,
    "a link": become_link,
    "a FIFO": become_fifo,
    "a folder": become_folder,
    "foreign code that all can write": writable,
    "foreign code without its digest": lambda path: (foreign(path), compiler.write_digest(path), flip(path)),
    "no digest": lambda path: path.with_suffix(".sha256").unlink(),
    "digest a FIFO": lambda path: become_fifo(path.with_suffix(".sha256")),
    "digest not ASCII": lambda path: path.with_suffix(".sha256").write_bytes(b"\xff\xfe"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_damaged_is_compiled_anew(source: Path, cache: Path, damage: str) -> None:
    assert answer(source) == 42
    DAMAGE[damage](library(cache))
    assert answer(source) == 42
    # Repaired for good: the third start finds it whole.
    before = library(cache).stat()
    assert not library(cache).is_symlink()
    assert answer(source) == 42
    assert library(cache).stat().st_mtime_ns == before.st_mtime_ns


def others_write(cache: Path) -> None:
    cache.chmod(0o777)


def link(cache: Path) -> None:
    other = cache.with_name("other")
    cache.rename(other)
    cache.symlink_to(other)


def somebody_else(cache: Path) -> None:
    os.chown(cache, 12345, 12345)
    cache.chmod(0o755)


def become_fifo_folder(cache: Path) -> None:
    cache.rename(cache.with_name("other"))
    os.mkfifo(cache)


FOLDERS: dict[str, Callable[[Path], object]] = {
    "others write": others_write,
    "others write above": lambda cache: cache.parent.chmod(0o777),
    "link": link,
    "FIFO": become_fifo_folder,
    "owner": somebody_else,
    "owner above": lambda cache: os.chown(cache.parent, 12345, 12345),
}


@pytest.mark.parametrize("change", FOLDERS)
def test_a_folder_that_others_can_write_to_is_not_used(source: Path, cache: Path, change: str) -> None:
    if "owner" in change and os.geteuid() != 0:
        pytest.skip("only root can give a folder to somebody else")
    assert answer(source) == 42
    foreign(library(cache))
    FOLDERS[change](cache)
    assert answer(source) == 42
    # One line describes the folder that is to be repaired.
    said = compiler.notice(source)
    assert str(cache.parent) in said
    assert "\n" not in said


@pytest.mark.parametrize("umask", [0o000, 0o002, 0o077])
def test_the_cache_is_kept_under_every_umask(source: Path, cache: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        assert answer(source) == 42
        first = library(cache).stat().st_mtime_ns
        assert answer(source) == 42
    finally:
        os.umask(before)
    assert library(cache).stat().st_mtime_ns == first
    assert compiler.notice(source) == ""


def test_threads_that_compile_at_once_share_one_library(source: Path, cache: Path) -> None:
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(compiler.compiled, [source] * 4))
    assert all(each is found[0] for each in found)
    assert library(cache).exists()


def test_a_relative_cache_is_ignored(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", "here")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert answer(source) == 42
    assert not (tmp_path / "here").exists()
    assert list((tmp_path / "home" / ".cache" / "calque").glob("*.so"))


def test_a_home_where_nothing_can_be_written_does_not_matter(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert answer(source) == 42


def test_a_killed_compilation_leaves_nothing_that_is_loaded(source: Path, cache: Path) -> None:
    assert answer(source) == 42
    path = library(cache)
    shutil.copy(path, cache / f".{path.name}.tmp-1")
    path.unlink()
    assert answer(source) == 42
