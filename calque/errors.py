"""Errors written for the person who made the mistake: what, where, how to mend it.

Each class carries the exit code that the command line answers with.
"""

import difflib
from collections.abc import Iterable
from pathlib import Path


class CalqueError(Exception):
    """Be the parent of every error that calque raises on purpose."""

    exit_code = 1


class UsageError(CalqueError):
    """Report a wrong command, option, recipe or path."""

    exit_code = 2


class DataError(CalqueError):
    """Report text that cannot be used: file, line (from 1) and byte (from 0, in the line) where known."""

    exit_code = 3

    def __init__(
        self, message: str, file: str | Path | None = None, line: int | None = None, byte: int | None = None
    ) -> None:
        self.message, self.file, self.line, self.byte = message, file, line, byte
        numbers = [str(number) for number in (line, byte) if number is not None]
        place = ":".join(([str(file)] if file is not None else []) + numbers)
        super().__init__(f"{place}: {message}" if place else message)


class ResourceError(CalqueError):
    """Report a lack of memory, disk or a lock that another process holds."""

    exit_code = 4


class Diverged(CalqueError):  # noqa: N818 — the name that the exit codes use
    """Report a training run whose loss or weights are no longer finite."""

    exit_code = 5


def wrong_type(argument: str, value: object, needed: str) -> UsageError:
    """Return the error for an argument of a wrong type; `needed` describes the right one."""
    return UsageError(f"{argument} is of type {type(value).__name__}; it must be {needed}")


def texts(argument: str, value: object) -> list[str]:
    """Return a text, or each of several, as a list; UsageError naming the argument and the position for other types."""
    if isinstance(value, str):
        return [value]
    if not isinstance(value, Iterable) or isinstance(value, bytes):
        raise wrong_type(argument, value, "text, or a list of texts")
    found = list(value)
    for number, one in enumerate(found):
        if not isinstance(one, str):
            raise wrong_type(f"{argument}[{number}]", one, "text")
    return found


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ' Did you mean "x"?' for the nearest known name, or nothing when none is near."""
    folded = {candidate.casefold(): candidate for candidate in known}
    close = [folded[near] for near in difflib.get_close_matches(name.casefold(), list(folded), n=1, cutoff=0.5)]
    return f' Did you mean "{close[0]}"?' if close else ""
