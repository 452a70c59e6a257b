"""One trainer per run folder: a lock that the kernel releases with its process, so that it is never stale.

The file RUN/lock stays with the run; only the lock on it counts, and the PID in it is for the message.
"""

import fcntl
import os
import stat
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from calque.errors import ResourceError
from calque.system.files import cannot_write, is_full

# The file contains a process number.
MOST_BYTES = 32


class RunLock:
    """The lock RUN/lock, held while the block runs."""

    def __init__(self, run: Path) -> None:
        self._run = run
        self._path = run / "lock"
        self._descriptor: int | None = None
        self._watches_forks = False

    def __enter__(self) -> "RunLock":
        """Take the lock, in a new folder if none exists; raise ResourceError naming the process that holds it."""
        descriptor = self._locked()
        while not self._is_there(descriptor):
            # The process that held it has removed folder and file in between.
            os.close(descriptor)
            descriptor = self._locked()
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor
        if not self._watches_forks:
            # A data worker that outlives a killed trainer must not keep the lock.
            os.register_at_fork(after_in_child=self._forget)
            self._watches_forks = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Release the lock; remove the folder if an error left nothing else in it."""
        if self._descriptor is None:
            return
        if kind is not None and [path.name for path in self._run.iterdir()] == [self._path.name]:
            self._path.unlink()
            with suppress(OSError):
                self._run.rmdir()
        os.ftruncate(self._descriptor, 0)
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        self._forget()

    def _locked(self) -> int:
        """Open the file and lock it."""
        try:
            self._run.mkdir(parents=True, exist_ok=True)
            # Links and FIFOs are not opened, so that no file outside the folder is emptied.
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            descriptor = os.open(self._path, flags, 0o644)
        except OSError as error:
            if is_full(error):
                raise cannot_write(self._path, error, MOST_BYTES) from error
            raise ResourceError(f"Cannot open the lock {self._path}: {error.strerror}.") from error
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            os.close(descriptor)
            raise ResourceError(
                f"{self._path} is not a file that calque wrote: it is a link or not a regular file. Remove it."
            )
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(descriptor, MOST_BYTES, 0).decode("ascii", errors="replace").strip()
            os.close(descriptor)
            raise self._refused(error, holder) from error
        return descriptor

    def _is_there(self, descriptor: int) -> bool:
        """Return whether the file that is locked is the one in the folder."""
        try:
            return os.path.samestat(os.fstat(descriptor), self._path.stat())
        except FileNotFoundError:
            return False

    def _forget(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _refused(self, error: OSError, holder: str) -> ResourceError:
        if not isinstance(error, BlockingIOError):
            return ResourceError(f"Cannot lock {self._path}: {error.strerror}. Use --out on another file system.")
        return ResourceError(
            f"Process {holder or 'unknown'} is training in {self._run} already (it holds {self._path.name}).\n"
            "Wait for it, stop it, or train into another folder with --out."
        )
