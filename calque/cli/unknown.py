"""Errors for unknown commands and options: they name the one that calque has, or the nearest known name."""

from collections.abc import Iterable
from typing import Any

from calque.errors import UsageError, did_you_mean


def refuse_unknown_command(arguments: Iterable[str], known: Iterable[str]) -> None:
    """Raise UsageError if the first word of the command line is not a command."""
    name = next((word for word in arguments if not word.startswith("-")), None)
    if name is None or name in known:
        return
    from calque.recipe.synonyms import command_meant

    meant = command_meant(name)
    known = sorted(known)
    hint = f" Use calque {meant}." if meant in known else did_you_mean(name, known)
    raise UsageError(f"no command {name!r}; there are {', '.join(known)}.{hint}")


def unknown_option(error: Any) -> UsageError | None:  # Any: Typer may contain its own copy of click
    """Return the error for an option that the command does not have, or None if `error` has another cause."""
    name, context = getattr(error, "option_name", None), getattr(error, "ctx", None)
    if not isinstance(name, str) or type(error).__name__ != "NoSuchOption" or context is None:
        return None
    from calque.recipe.synonyms import option_meant

    command = str(context.info_name)
    options = [spelt for parameter in context.command.params for spelt in (*parameter.opts, *parameter.secondary_opts)]
    long = sorted({spelt for spelt in options if spelt.startswith("--")} | {"--help"})
    meant = option_meant(name, command, long)
    hint = f" Use {meant}." if meant else did_you_mean(name, long) or f" It has {', '.join(long)}."
    where = "calque" if context.parent is None else f"calque {command}"
    return UsageError(f"{where} has no option {name}.{hint}")
