"""The recipe file of a model folder, read by sections. It is not trusted.

A recipe that is missing, damaged or of another version is an error of one line.
"""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from calque.config import reasons
from calque.errors import UsageError
from calque.folder.json_file import read_json


def read_sections(folder: Path) -> dict[str, Any]:
    """Return the sections of a model folder's recipe as plain values."""
    if not folder.is_dir():
        near = sorted(str(path.parent) for path in folder.parent.glob("*/recipe.json"))
        hint = f" There is {', '.join(near[:5])}." if near else " Train one with: calque train PAIRS."
        raise UsageError(f"no model folder {str(folder)!r}.{hint}")
    path = folder / "recipe.json"
    try:
        sections = read_json(path)
    except FileNotFoundError:
        advice = "Pass the folder that calque train created, such as runs/NAME"
        raise UsageError(f"{folder} is no model folder: it has no recipe.json. {advice}.") from None
    if not isinstance(sections, dict) or sections.get("format") != 1:
        raise UsageError(f"{path} is not of format 1, the only one that this version of calque reads")
    return sections


def first_line(error: Exception) -> str:
    """Return the message of an error in one line."""
    if isinstance(error, ValidationError):
        return reasons(error)[0]
    if isinstance(error, KeyError):
        return f"it lacks {error}"
    return str(error).splitlines()[0] if str(error) else type(error).__name__
