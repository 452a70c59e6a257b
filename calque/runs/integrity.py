"""What a run's folder must hold before its training continues: absence of a file never means a new run.

Whatever was deleted, damaged or interrupted, the same command completes the run or refuses; no model is overwritten.
"""

import copy
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from calque.errors import UsageError
from calque.folder.best import WEIGHTS, check_best, has_hashes
from calque.folder.json_file import read_json
from calque.folder.record import read_record
from calque.recipe.layers import flatten
from calque.system.files import remove_temporaries, sha256_of, sync_folder, write_atomic

# What training wrote, removed by --fresh; other files of the folder stay.
FOLDERS = ("checkpoints", "data", "text")
FILES = (
    "latest", "metrics.jsonl", "timing.jsonl", "report.html", "README.md", "manifest.json", WEIGHTS, "recipe.json",
    "run.json",
)  # fmt: skip
# What a finished run holds beside its model.
COMPLETION = ("report.html", "README.md", "manifest.json")
CLEARING = "clearing"


def clear(folder: Path) -> None:
    """Remove what a run wrote in its folder, and nothing else.

    A mark comes first and goes last: if the removal is interrupted, the next command on this folder completes it.
    """
    if not any((folder / name).exists() for name in (*FOLDERS, *FILES, CLEARING)):
        return
    write_atomic(folder / CLEARING, "")
    for name in FOLDERS:
        for path in (folder / name).glob("*"):
            # Data that came through a pipe were spooled there a moment ago.
            if path.name != "spool":
                _remove(path)
    for name in FILES:
        (folder / name).unlink(missing_ok=True)
    remove_temporaries(folder)
    sync_folder(folder)
    (folder / CLEARING).unlink()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def is_being_cleared(folder: Path) -> bool:
    """Return whether `clear` was interrupted in this folder."""
    return (folder / CLEARING).exists()


def require_no_model(folder: Path) -> None:
    """Refuse to start a run in a folder that holds a model, or checkpoints, but no record of a run."""
    if (folder / WEIGHTS).exists() or any((folder / "checkpoints").glob("step-*")):
        raise UsageError(
            f"{folder} contains a model but no run.json, so its training cannot continue.\n{_ways_out(folder)}"
        )


def require_checkpoint(folder: Path) -> None:
    """Refuse to continue a run whose checkpoints were deleted: it would start at the first update and lose its model.

    A run that was interrupted before its first checkpoint starts again, with the same result.
    """
    if any((folder / "checkpoints").glob("step-*")):
        return
    had_checkpoint = (folder / "latest").exists() or ((folder / WEIGHTS).exists() and not has_hashes(folder))
    if had_checkpoint:
        raise UsageError(
            f"{folder} has no checkpoints, so its training cannot continue; they were deleted or moved.\n"
            + _ways_out(folder)
        )
    check_best(folder, is_needed=False)


def stored_recipe(folder: Path, record: Mapping[str, Any], note: Callable[[str], None]) -> dict[str, Any]:
    """Return the recipe of the record; UsageError where recipe.json was edited. A missing recipe.json is noted."""
    recipe: dict[str, Any] = copy.deepcopy(record["recipe"])
    path = folder / "recipe.json"
    try:
        found = read_json(path)
    except FileNotFoundError:
        note(f"{path} is missing and is written again from run.json")
        return recipe
    if found not in (recipe, record.get("recipe_before")):
        was, now = (flatten(part) if isinstance(part, dict) else {} for part in (recipe, found))
        edited = sorted(key for key in was.keys() | now.keys() if was.get(key) != now.get(key))
        lines = [f"  {key}: {was.get(key)!r} in the run, {now.get(key)!r} in the file" for key in edited[:3]]
        raise UsageError(
            "\n".join(
                [
                    f"{path} was edited after the run had started:",
                    *lines,
                    "Undo the edit, or set other values with --set in another folder (--out), or with --fresh.",
                ]
            )
        )
    return recipe


def text_hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of the text side."""
    return {path.name: sha256_of(path) for path in sorted((folder / "text").iterdir()) if path.is_file()}


def check_text(folder: Path, record: Mapping[str, Any]) -> None:
    """Raise UsageError where a tokenizer is missing or is not the one that the run started with."""
    for name, digest in record.get("text", {}).items():
        path = folder / "text" / name
        if not path.is_file() or sha256_of(path) != digest:
            problem = "is not the file that this run wrote" if path.exists() else "is missing"
            raise UsageError(f"{path} {problem}; the model knows only its tokens.\n{_ways_out(folder)}")


def is_complete(folder: Path) -> bool:
    """Return whether a finished run has its report, card and manifest."""
    return all((folder / name).is_file() for name in COMPLETION)


def check_recorded(folder: Path) -> None:
    """Raise UsageError where the weights of a finished run are not those that its record names."""
    record = read_record(folder) or {}
    path = folder / WEIGHTS
    if not path.is_file() or record.get("weights", sha256_of(path)) != sha256_of(path):
        problem = "is not the file that this run wrote" if path.exists() else "is missing"
        raise UsageError(f"{path} {problem}.\n{_ways_out(folder)}")


def _ways_out(folder: Path) -> str:
    return (
        f"Restore the missing files from a copy; train a new model from its weights with --from {folder} and another"
        " --out; or delete it and start again with --fresh."
    )
