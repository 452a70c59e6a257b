"""Checks of a run's folder before its training continues: a missing file never means a new run.

After any deletion, damage or interruption the same command completes the run or refuses; no model is overwritten.
"""

import copy
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from calque.errors import UsageError
from calque.folder.best import WEIGHTS, check_best, had_checkpoint
from calque.folder.json_file import read_json
from calque.folder.record import read_record
from calque.recipe.layers import flatten
from calque.system.files import remove_temporaries, sha256_of, sync_folder, write_atomic

# Files that training writes. --fresh removes them and keeps all other files of the folder.
FOLDERS = {
    "checkpoints": re.compile(r"step-.*|best\.json|\.best\.json\.tmp-\d+"),
    "data": re.compile(r"[0-9a-f]{32}(\.tmp-\d+)?"),
    "text": re.compile(".*"),
}
FILES = (
    "latest", "metrics.jsonl", "timing.jsonl", "report.html", "README.md", "manifest.json", WEIGHTS, "recipe.json",
    "run.json",
)  # fmt: skip
# The files of a finished run in addition to its model.
COMPLETION = ("report.html", "README.md", "manifest.json")
STARTING = "clearing"


@contextmanager
def starting(folder: Path) -> Iterator[None]:
    """Remove the files of an earlier run from the folder; the block then writes those that a new run starts from.

    A marker file is written first and removed last: if this is interrupted in between, the next command starts again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    clear(folder)
    yield
    (folder / STARTING).unlink()
    sync_folder(folder)


def clear(folder: Path) -> None:
    """Mark the folder as one in which a run starts, and remove the files that a run wrote there, but no others."""
    write_atomic(folder / STARTING, "")
    for name, pattern in FOLDERS.items():
        for path in (folder / name).glob("*"):
            if pattern.fullmatch(path.name):
                _remove(path)
    for name in FILES:
        (folder / name).unlink(missing_ok=True)
    remove_temporaries(folder)
    sync_folder(folder)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def is_starting(folder: Path) -> bool:
    """Return whether the start of a run was interrupted in this folder."""
    return (folder / STARTING).exists()


def record_to_continue(folder: Path, is_fresh: bool) -> dict[str, Any] | None:
    """Return the record of the run that the command continues, or None if a new run may start.

    Raises UsageError if neither is possible.
    """
    for name in FILES:
        # Checked before any is opened: opening a FIFO would wait forever.
        if (folder / name).exists() and not (folder / name).is_file():
            raise UsageError(
                f"{folder / name} is not a regular file.\nRemove it, or train in another folder with --out."
            )
    is_new = is_fresh or is_starting(folder)
    record = None if is_new else read_record(folder)
    if record is None:
        require_startable(folder, is_new)
    return record


def require_startable(folder: Path, is_fresh: bool) -> None:
    """Raise UsageError if a new run would replace a model, or files that calque did not write."""
    has_model = (folder / WEIGHTS).exists() or any((folder / "checkpoints").glob("step-*"))
    replaced = [name for name in (*FILES, "text") if (folder / name).exists()]
    if is_starting(folder) or not (has_model or replaced):
        return
    if not _is_from_calque(folder):
        names = ", ".join(replaced or ["checkpoints"])
        raise UsageError(
            f"{folder} contains neither run.json nor recipe.json of calque, and a run would replace {names}.\n"
            "Train in another folder with --out, or move these files."
        )
    if not is_fresh:
        found = "a model" if has_model else ", ".join(replaced)
        raise UsageError(
            f"{folder} contains {found} but no run.json, so its training cannot continue.\n{_ways_out(folder)}"
        )


def _is_from_calque(folder: Path) -> bool:
    """Return whether the record or the recipe in a folder was written by calque."""
    for name, keys in (("run.json", {"request", "data"}), ("recipe.json", {"format", "model"})):
        with suppress(FileNotFoundError, UsageError):
            found = read_json(folder / name)
            if isinstance(found, dict) and keys <= found.keys():
                return True
    return False


def require_checkpoint(folder: Path, record: Mapping[str, Any]) -> None:
    """Raise UsageError if the checkpoints of a run were deleted: it would start at update 1 and replace its model.

    A run that was interrupted before its first checkpoint starts again, with the same result.
    """
    if any((folder / "checkpoints").glob("step-*")):
        return
    was_trained = "seconds" in record or "scores" in record
    if was_trained or (folder / "latest").exists() or had_checkpoint(folder):
        raise UsageError(
            f"{folder} has no checkpoints, so its training cannot continue; they were deleted or moved.\n"
            + _ways_out(folder)
        )
    check_best(folder, is_needed=False)


def stored_recipe(folder: Path, record: Mapping[str, Any], note: Callable[[str], None]) -> dict[str, Any]:
    """Return the recipe of the record; raise UsageError if recipe.json was edited, and note a missing recipe.json."""
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
    """Raise UsageError if a tokenizer is missing or is not the one that the run started with."""
    for name, digest in record.get("text", {}).items():
        path = folder / "text" / name
        if not path.is_file() or sha256_of(path) != digest:
            problem = "is not the file that this run wrote" if path.exists() else "is missing"
            raise UsageError(f"{path} {problem}; the model can only read its own tokens.\n{_ways_out(folder)}")


def is_complete(folder: Path) -> bool:
    """Return whether a finished run has its report, card and manifest."""
    return all((folder / name).is_file() for name in COMPLETION)


def check_recorded(folder: Path, key: str, name: str) -> None:
    """Raise UsageError if the SHA-256 of a file of a finished run is not the one in its record under `key`."""
    record = read_record(folder) or {}
    path = folder / name
    if not path.is_file() or record.get(key, sha256_of(path)) != sha256_of(path):
        problem = "is not the file that this run wrote" if path.exists() else "is missing"
        raise UsageError(f"{path} {problem}.\n{_ways_out(folder)}")


def _ways_out(folder: Path) -> str:
    return (
        f"Restore the missing files from a copy; train a new model from its weights with --from {folder} and another"
        " --out; or delete it and start again with --fresh."
    )
