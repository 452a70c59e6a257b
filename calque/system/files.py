"""Atomic files: write a temporary, sync it, rename it, sync the folder.

A crash at any point leaves the old content or the new one, and perhaps a temporary, which the next writer removes.
"""

import errno
import hashlib
import itertools
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from calque.errors import ResourceError

# What a new name in a folder may need.
BLOCK = 4_096
_TEMPORARY = re.compile(r"\..+\.tmp-(\d+)")


def write_atomic(path: Path, data: bytes | str) -> None:
    """Replace `path` by `data` (text as UTF-8, line ends unchanged) so that no reader ever sees a part of it.

    Raises ResourceError if the disk is full or cannot be written to.
    """
    content = data.encode() if isinstance(data, str) else data
    try:
        with replacing(path) as temporary:
            write_synced(temporary, content)
    except OSError as error:
        raise cannot_write(path, error, len(content)) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary in the folder of `path`; rename it to `path` on success, and remove it on an error."""
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        yield temporary
        os.replace(temporary, path)  # noqa: PTH105 - the call that the crash tests count
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_synced(path: Path, *parts: bytes | memoryview) -> None:
    """Write the parts one after another to a new file and wait until they are on the disk."""
    with path.open("wb") as file:
        for part in parts:
            file.write(part)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Wait until the names in the folder (creations, renames, removals) are on the disk."""
    _fsync(path, os.O_RDONLY | os.O_DIRECTORY)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of the file's content in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove_temporaries(*folders: Path) -> None:
    """Remove the temporaries of killed writers from the folders; those of running processes are kept."""
    for path in itertools.chain.from_iterable(folder.glob(".*.tmp-*") for folder in folders):
        match = _TEMPORARY.fullmatch(path.name)
        if match and (int(match[1]) == os.getpid() or not is_running(int(match[1]))):
            path.unlink(missing_ok=True)


def is_full(error: OSError) -> bool:
    """Return whether the operating system refused to let a file grow."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def cannot_write(path: Path, error: OSError, needed: int) -> ResourceError:
    """Return the error that tells the user which file failed, why, and how many bytes are needed and free."""
    # A relative path stays relative: the current folder may have been deleted, and then has no absolute name.
    existing = next(place for place in (path, *path.parents) if place.exists())
    return ResourceError(
        f"Cannot write {path}: {error.strerror or error}.\n"
        f"Needed: {needed:,} bytes; free there: {shutil.disk_usage(existing).free:,} bytes.\n"
        "The previous content is intact. Free some space (or raise the limit on file sizes) and run it again."
    )


def _fsync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_running(process: int) -> bool:
    """Return whether a process with this number is running, under any user."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
