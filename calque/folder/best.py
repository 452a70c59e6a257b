"""The best weights of a run that goes on: their hash is written before they are, so that damage is always noticed.

A run may be killed between a new best and the checkpoint after it, so the hash of the weights before counts too.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from calque.errors import UsageError
from calque.folder.json_file import read_json
from calque.folder.weights import file_parts, write_parts
from calque.system.files import sha256_of, write_atomic

WEIGHTS, HASHES = "model.safetensors", "checkpoints/best.json"


def save_best(run: Path, tensors: Mapping[str, Tensor]) -> None:
    """Replace the best weights; raise Diverged for a weight that is not finite, ResourceError when the disk is full."""
    parts = file_parts(tensors, {"format": "calque-1"})
    digest = hashlib.sha256(parts[0])
    digest.update(parts[1])
    before = [sha256_of(run / WEIGHTS)] if (run / WEIGHTS).is_file() else []
    (run / HASHES).parent.mkdir(parents=True, exist_ok=True)
    write_atomic(run / HASHES, json.dumps({"sha256": [digest.hexdigest(), *before]}) + "\n")
    write_parts(run / WEIGHTS, parts)


def has_hashes(run: Path) -> bool:
    """Return whether the run keeps hashes of its best weights; runs of calque 0.1.0 do not."""
    return (run / HASHES).exists()


def check_best(run: Path, is_needed: bool) -> None:
    """Raise UsageError where the best weights are not those that the run wrote, or `is_needed` and they are missing."""
    path = run / WEIGHTS
    if not path.is_file():
        if is_needed:
            raise _lost(f"{path} is missing")
    elif has_hashes(run) and sha256_of(path) not in _hashes(run / HASHES):
        raise _lost(f"{path} is not the file that this run wrote: it was changed or damaged")


def _hashes(path: Path) -> list[str]:
    try:
        found = read_json(path)["sha256"]
    except (KeyError, TypeError):
        found = None
    if not isinstance(found, list):
        raise _lost(f"{path} is damaged")
    return found


def _lost(problem: str) -> UsageError:
    return UsageError(
        f"{problem}.\nRestore it from a copy, start again with --fresh, or train in another folder with --out."
    )
