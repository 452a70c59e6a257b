"""How a command ends: exit codes, messages of errors, and streams that are closed or full."""

import errno
import os
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

import typer

from calque.errors import CalqueError

leave: Callable[[int], NoReturn] = sys.exit


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


def fault() -> NoReturn:
    """Print the traceback of a fault of calque, and leave with exit code 1."""
    traceback.print_exc()
    typer.echo("calque: this is a fault of calque; please report it with the lines above", err=True)
    leave(1)


def report_error(error: CalqueError) -> NoReturn:
    """Print the message of an error of the user, and leave with its exit code."""
    if os.environ.get("CALQUE_DEBUG"):
        traceback.print_exc()
    typer.echo(f"calque: {error}", err=True)
    leave(error.exit_code)
