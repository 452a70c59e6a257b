"""Errors written for the person who made the mistake: what, where and how to fix it.

Each class has the exit code of the command line.
"""

from collections.abc import Iterable
from pathlib import Path


class CalqueError(Exception):
    """The base class of every error that calque raises on purpose."""

    exit_code = 1


class UsageError(CalqueError):
    """A wrong command, option, recipe or path."""

    exit_code = 2


class DataError(CalqueError):
    """Text that cannot be used, with file, line (from 1) and byte (from 0, in the line) if known."""

    exit_code = 3

    def __init__(
        self, message: str, file: str | Path | None = None, line: int | None = None, byte: int | None = None
    ) -> None:
        self.message, self.file, self.line, self.byte = message, file, line, byte
        numbers = [str(number) for number in (line, byte) if number is not None]
        place = ":".join(([str(file)] if file is not None else []) + numbers)
        super().__init__(f"{place}: {message}" if place else message)


class ResourceError(CalqueError):
    """A lack of memory, disk or a lock that another process holds."""

    exit_code = 4


class Diverged(CalqueError):  # noqa: N818 - the name in the list of exit codes
    """A training run whose loss or weights are no longer finite."""

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
    """Return ' Did you mean "x"?' for the nearest known name, or an empty string if none is near."""
    near = nearest(name, known)
    return f' Did you mean "{near}"?' if near is not None else ""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name with the fewest typing errors, at most half of its letters, or None.

    A typing error is an added, missing or wrong letter, or two exchanged neighbours. Among equals the one with the
    longest common start is returned.
    """
    from rapidfuzz.distance import OSA, JaroWinkler

    def closeness(candidate: str) -> tuple[float, float]:
        plain = candidate.casefold()
        return -OSA.distance(name.casefold(), plain), JaroWinkler.similarity(name.casefold(), plain)

    known = list(known)
    best = max(known, key=closeness, default=None)
    if best is not None and -closeness(best)[0] <= max(2, max(len(best), len(name)) / 2):
        return best
    return next((one for one in known if len(name) > 2 and one.casefold().startswith(name.casefold())), None)


def is_mistyped(name: str, known: Iterable[str]) -> bool:
    """Return whether a name of four letters or more is at most two typing errors away from a known one."""
    from rapidfuzz.distance import OSA

    return len(name) > 3 and any(OSA.distance(name.casefold(), one.casefold(), score_cutoff=2) <= 2 for one in known)
