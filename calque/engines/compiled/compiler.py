"""Compile a C source of this package for this processor, once, and load it.

The library is kept in the user's cache folder, under a name that depends on source, compiler and processor. It is
loaded only if no other user can have written it, and if its digest is the one that was written with it.
"""

import ctypes
import hashlib
import os
import shutil
import stat
import subprocess
import tempfile
import threading
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from calque.errors import ResourceError
from calque.system.files import replacing, sha256_of, sync_folder, write_synced

_COMPILERS = ("cc", "gcc", "clang")
FLAGS = ("-std=gnu11", "-O3", "-march=native", "-ffp-contract=fast", "-fno-math-errno", "-fPIC", "-shared")
SECONDS = 120.0
_ONE_AT_A_TIME = threading.RLock()


def compiled(source: Path) -> ctypes.CDLL:
    """Return the library of a source and its headers.

    Raises ResourceError if there is no compiler, or if it fails.
    """
    made = _attempt(source)
    if made.library is None:
        raise ResourceError(made.reason)
    return made.library


def notice(source: Path) -> str:
    """Return why the library of a source is not in the cache folder; empty if it is, or if there is no library."""
    made = _attempt(source)
    return "" if made.library is None else made.reason


@dataclass(frozen=True)
class Attempt:
    """A library, with the reason if it is not kept; or None, with the reason why there is no library."""

    library: ctypes.CDLL | None
    reason: str = ""


def _attempt(source: Path) -> Attempt:
    with _ONE_AT_A_TIME:
        return _attempt_with(source, os.environ.get("CC", ""), os.environ.get("PATH", ""))


@cache
def _attempt_with(source: Path, preferred: str, path: str) -> Attempt:
    """Find or compile the library of a source, once per process for each $CC and $PATH."""
    try:
        compiler = _found(preferred, path)
    except ResourceError as error:
        return Attempt(None, str(error))
    texts = [part.read_bytes() for part in sorted(source.parent.iterdir()) if part.is_file()]
    name = hashlib.sha256(b"\0".join([*texts, *map(str.encode, (compiler, *FLAGS)), processor()])).hexdigest()
    try:
        return _load(compiler, source, f"{source.stem}-{name[:20]}.so")
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        return Attempt(None, f"the library that {compiler} compiled cannot be loaded: {_reason(error)}")


def _load(compiler: str, source: Path, name: str) -> Attempt:
    """Load the library from the cache folder; compile it first if it is missing, damaged or not trusted.

    A cache folder that others can write to, or that cannot be written to, is not used: the library is then compiled
    for this process only, in a temporary folder.
    """
    folder = cache_folder()
    reason = "the user has no home folder" if folder is None else _distrust(folder)
    if folder is not None and not reason:
        path = folder / name
        if not _is_intact(path):
            _compile_into(compiler, source, path)
        if _is_intact(path):
            return Attempt(ctypes.CDLL(str(path)))
        reason = f"{path} was changed while it was compiled"
    with tempfile.TemporaryDirectory() as own:
        path = Path(own) / name
        _compile(compiler, source, path)
        # A loaded library stays in memory, so its file may be removed.
        return Attempt(ctypes.CDLL(str(path)), f"compiled for this process only: {reason}")


def find_compiler() -> str:
    """Return the path of a C compiler, $CC first; ResourceError if there is none."""
    return _found(os.environ.get("CC", ""), os.environ.get("PATH", ""))


def _found(preferred: str, path: str) -> str:
    names = [name for name in (preferred, *_COMPILERS) if name]
    found = next(filter(None, (shutil.which(name, path=path) for name in names)), None)
    if found is None:
        raise ResourceError(f"no C compiler ({', '.join(names)}) was found")
    return found


def cache_folder() -> Path | None:
    """Return the absolute path of the folder of compiled libraries; None for a user without a home folder."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    if not Path(home).is_absolute():
        # By the XDG specification a relative path is ignored.
        try:
            home = str(Path("~/.cache").expanduser())
        except RuntimeError:
            return None
    return Path(home) / "calque" if Path(home).is_absolute() else None


def _distrust(folder: Path) -> str:
    """Create the folder if it is missing; return why it cannot be used, or an empty string if it can.

    It must be a real folder that only the user can write to, and that no other user can replace.
    """
    try:
        # The mode applies to the last folder only; a new cache folder is private too.
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
        above = [(place, place.stat()) for place in folder.parent.resolve(strict=True).joinpath("x").parents]
    except (OSError, RuntimeError) as error:
        return f"{folder} cannot be used ({error})"
    if not stat.S_ISDIR(status.st_mode):
        return f"{folder} is not a folder"
    if not _is_own(status):
        return f"others can write to {folder} (chmod go-w, or remove it)"
    unsafe = next((place for place, status in above if not _keeps_names(status)), None)
    if unsafe is not None:
        return f"others can replace {folder}, because they can write to {unsafe}"
    return "" if os.access(folder, os.W_OK) else f"{folder} cannot be written to"


def _keeps_names(status: os.stat_result) -> bool:
    """Return whether only the user and root can rename the user's folders in a folder.

    On many systems each user has a private group, which may write to the home folder.
    """
    others = stat.S_IWOTH if status.st_gid == os.getegid() else stat.S_IWOTH | stat.S_IWGRP
    return status.st_uid in (os.geteuid(), 0) and (not status.st_mode & others or bool(status.st_mode & stat.S_ISVTX))


def _is_own(status: os.stat_result) -> bool:
    """Return whether a file or folder belongs to the user and others cannot write to it."""
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _is_intact(path: Path) -> bool:
    """Return whether a library is a regular file of the user with the digest that was written with it."""
    digest = _digest_path(path)
    try:
        for part in (path, digest):
            status = part.lstat()
            if not (stat.S_ISREG(status.st_mode) and _is_own(status)):
                return False
        return digest.read_text(encoding="ascii") == sha256_of(path)
    except (OSError, ValueError):
        return False


def _digest_path(path: Path) -> Path:
    return path.with_suffix(".sha256")


def _compile_into(compiler: str, source: Path, path: Path) -> None:
    """Compile into the cache folder: first the library, then its digest, each atomically.

    Two processes may do it at once: if the digest of one does not fit the library of the other, it is compiled again.
    """
    for part in (path, _digest_path(path)):
        _remove(part)
    with replacing(path) as temporary:
        _compile(compiler, source, temporary)
    write_digest(path)


def write_digest(path: Path) -> None:
    """Write the digest of a library next to it."""
    digest = _digest_path(path)
    with replacing(digest) as temporary:
        write_synced(temporary, sha256_of(path).encode())
        # With a umask that allows the group to write, the file would not be trusted.
        temporary.chmod(0o600)


def _remove(path: Path) -> None:
    """Remove the file, folder or link of this name; links are not followed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _compile(compiler: str, source: Path, path: Path) -> None:
    """Compile to `path`, and wait until the library is on the disk."""
    command = [compiler, *FLAGS, str(source), "-o", str(path), "-lm"]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=SECONDS)
    path.chmod(0o700)
    with path.open("rb") as file:
        os.fsync(file.fileno())
    sync_folder(path.parent)


def processor() -> bytes:
    """Return what distinguishes processors: their instructions if the system lists them."""
    try:
        lines = Path("/proc/cpuinfo").read_bytes().splitlines()
    except OSError:
        return b""
    return next((line for line in lines if line.startswith((b"flags", b"Features"))), b"")


def _reason(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        lines = [line for line in str(error.stderr).splitlines() if "error" in line]
        return (lines or [f"exit code {error.returncode}"])[0]
    return str(error)
