"""The best weights of an unfinished run: their hash is written first, so that any damage is detected.

A run may be killed between a new best and the checkpoint after it, so the hash of the previous weights is accepted too.
"""

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from calque.errors import UsageError
from calque.folder.json_file import read_json
from calque.folder.weights import file_parts, write_parts
from calque.system.files import sha256_of, write_atomic

WEIGHTS, HASHES = "model.safetensors", "checkpoints/best.json"


def save_best(run: Path, tensors: Mapping[str, Tensor]) -> None:
    """Replace the best weights; raise Diverged for a weight that is not finite, ResourceError if the disk is full."""
    parts = file_parts(tensors, {"format": "calque-1"})
    digest = hashlib.sha256(parts[0])
    digest.update(parts[1])
    _write(run, [digest.hexdigest(), *_hashes_of_file(run)], had_checkpoint(run))
    write_parts(run / WEIGHTS, parts)


def best_hashes(run: Path) -> list[str]:
    """Return the hashes that the best weights may have, for a checkpoint."""
    return _read(run)["sha256"] if (run / HASHES).exists() else _hashes_of_file(run)


def note_checkpoint(run: Path) -> None:
    """Record that a checkpoint was saved, so that its removal is detected."""
    if not had_checkpoint(run):
        _write(run, best_hashes(run), True)


def had_checkpoint(run: Path) -> bool:
    """Return whether a checkpoint was saved, according to best.json or, if it is missing, the weights."""
    if (run / HASHES).exists():
        return bool(_read(run).get("had_checkpoint", False))
    return (run / WEIGHTS).exists()


def check_best(run: Path, is_needed: bool, known: Collection[str] | None = None) -> None:
    """Raise UsageError if the best weights are not those that the run wrote, or if they are missing and `is_needed`.

    `known` are the hashes in the checkpoint; None for those of calque 0.1.0, which have none.
    """
    path = run / WEIGHTS
    if not path.is_file():
        if is_needed:
            raise _lost(f"{path} is missing")
        return
    is_hashed = (run / HASHES).exists()
    allowed = [*(known or ()), *(_read(run)["sha256"] if is_hashed else ())]
    if (is_hashed or known is not None) and sha256_of(path) not in allowed:
        raise _lost(f"{path} is not the file that this run wrote: it was changed or damaged")


def _write(run: Path, hashes: list[str], had_checkpoint: bool) -> None:
    (run / HASHES).parent.mkdir(parents=True, exist_ok=True)
    write_atomic(run / HASHES, json.dumps({"sha256": hashes, "had_checkpoint": had_checkpoint}) + "\n")


def _hashes_of_file(run: Path) -> list[str]:
    return [sha256_of(run / WEIGHTS)] if (run / WEIGHTS).is_file() else []


def _read(run: Path) -> dict[str, Any]:
    found = read_json(run / HASHES)
    if not isinstance(found, dict) or not isinstance(found.get("sha256"), list):
        raise _lost(f"{run / HASHES} is damaged")
    return found


def _lost(problem: str) -> UsageError:
    return UsageError(
        f"{problem}.\nRestore it from a copy, start again with --fresh, or train in another folder with --out."
    )
