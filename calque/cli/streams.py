"""The streams of the command line where they are closed or full."""

import errno
import os
import sys


def is_full(error: OSError) -> bool:
    """Return whether the operating system refused to let a file grow."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def open_closed_streams() -> None:
    """Give streams that were closed by the caller a place to write to, so that no file takes their descriptors."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115 - kept open to the end


def discard_output() -> None:
    """Write what is left in the buffer of standard output nowhere: a second error at exit must not follow."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
