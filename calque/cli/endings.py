"""The end of a command: exit codes, error messages, and streams that are closed or full."""

import os
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

import typer

from calque.errors import CalqueError

leave: Callable[[int], NoReturn] = sys.exit


def open_closed_streams() -> None:
    """Open the standard streams that the caller closed, so that no other file gets their descriptors."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115 - kept open to the end


def discard_output() -> None:
    """Discard the buffer of standard output, so that there is no second error at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def fault() -> NoReturn:
    """Print the traceback of a bug in calque, and exit with code 1."""
    traceback.print_exc()
    typer.echo("calque: this is a bug in calque; please report it with the lines above", err=True)
    leave(1)


def report_error(error: CalqueError) -> NoReturn:
    """Print the message of a user's error, and exit with its code."""
    if os.environ.get("CALQUE_DEBUG"):
        traceback.print_exc()
    typer.echo(f"calque: {error}", err=True)
    leave(error.exit_code)
