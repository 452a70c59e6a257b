"""Checkpoints that survive a kill at any file operation: written under another name, hashed, synced, renamed once.

Every byte is verified before loading; instead of a damaged checkpoint the previous one is used.
"""

import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from calque.errors import Diverged, ResourceError, UsageError
from calque.folder.weights import load_weights, require_finite, save_weights, to_bytes
from calque.system.files import cannot_write, remove_temporaries, sha256_of, sync_folder, write_atomic, write_synced

__all__ = ["Snapshot", "load_checkpoint", "load_weights", "save_checkpoint", "save_weights"]

FORMAT = 1
_MODEL, _OPTIMIZER, _STATE, _MANIFEST = "model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"
_FILES = (_MODEL, _OPTIMIZER, _STATE)
_NAME = re.compile(r"step-(\d{6,})(?:-(\d+))?")


@dataclass(frozen=True)
class Snapshot:
    """The state of a run: weights, the optimizer's tensors (random generators too), and the rest as JSON."""

    model: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    state: dict[str, Any]


class _DamagedError(Exception):
    """A checkpoint cannot be used; the message gives the reason."""


def save_checkpoint(run: Path, step: int, snapshot: Snapshot, keep: int = 2, protect: Collection[str] = ()) -> Path:
    """Save RUN/checkpoints/step-NNNNNN, point RUN/latest to it, and return its folder.

    Keeps the newest `keep` checkpoints and those in `protect`, and removes the others. The caller holds the run's lock.
    Raises Diverged for a value that is not finite, ResourceError for an error of the disk; the last one stays intact.
    """
    assert keep >= 2, "a single checkpoint may be damaged"
    require_finite(snapshot.model, "weight")
    require_finite(snapshot.optimizer, "optimizer state")
    state = _state_text(snapshot.state)
    folder = run / "checkpoints"
    needed = sum(t.nbytes for t in (*snapshot.model.values(), *snapshot.optimizer.values())) + len(state)
    final = folder / _free_name(folder, step)
    temporary = folder / f"{final.name}.tmp-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_strays(run)
        _write(temporary, step, snapshot, state)
        os.rename(temporary, final)  # noqa: PTH104 - the call that the crash tests count
        sync_folder(folder)
        write_atomic(run / "latest", f"{final.name}\n")
        _remove_old(folder, final.name, keep, protect)
    except (OSError, ResourceError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, ResourceError):
            raise
        raise cannot_write(final, error, needed) from error
    return final


def load_checkpoint(run: Path, warn: Callable[[str], None]) -> tuple[str, Snapshot] | None:
    """Return name and content of the newest valid checkpoint, that in RUN/latest or else by step; None if none exists.

    `warn` is called once if a newer one was skipped. Raises ResourceError if none is valid.
    """
    latest, problems = _latest(run)
    names = [name for _, _, name in _checkpoints(run / "checkpoints")]
    if not names:
        return None
    if latest is not None and latest not in names:
        problems.append(f"{latest}, named in {run / 'latest'}, does not exist")
    for name in sorted(names, key=lambda name: name != latest):
        try:
            snapshot = _read(run / "checkpoints" / name)
        except (_DamagedError, UsageError, OSError, ValueError) as error:
            problems.append(f"{name} cannot be used ({error})")
            continue
        if problems:
            warn(f"{'; '.join(problems)}. Continuing from {name}.")
        return name, snapshot
    reasons = "; ".join(problems[:3]) + ("; …" if len(problems) > 3 else "")
    raise ResourceError(
        f"No checkpoint in {run / 'checkpoints'} is valid: {reasons}.\n"
        "Restore the folder from a copy, or start again with --fresh."
    )


def _state_text(state: dict[str, Any]) -> bytes:
    """Return the state as JSON; raise Diverged for a number that is not finite (write None for "none yet")."""
    _require_finite_numbers(state, "state")
    text = json.dumps(state, ensure_ascii=False, indent=1, allow_nan=False)
    assert json.loads(text) == state, "the state must be equal after JSON: only lists and string keys"
    return text.encode()


def _require_finite_numbers(value: Any, place: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise Diverged(f"{place} is {value}; nothing was saved.")
    parts: Mapping[Any, Any] = value if isinstance(value, dict) else {}
    for key, part in dict(enumerate(value)).items() if isinstance(value, list) else parts.items():
        _require_finite_numbers(part, f"{place}.{key}")


def _write(folder: Path, step: int, snapshot: Snapshot, state: bytes) -> None:
    """Write the files, then their manifest, then sync the folder itself."""
    folder.mkdir()
    files = {}
    for name in _FILES:
        # One at a time, so that only one of them is in memory twice.
        data = state if name == _STATE else to_bytes(snapshot.model if name == _MODEL else snapshot.optimizer)
        write_synced(folder / name, data)
        files[name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    write_synced(folder / _MANIFEST, _manifest_text({"format": FORMAT, "step": step, "files": files}))
    sync_folder(folder)


def _manifest_text(manifest: Any) -> bytes:
    return (json.dumps(manifest, indent=1, sort_keys=True) + "\n").encode()


def _read(folder: Path) -> Snapshot:
    manifest = _read_manifest(folder)
    for name in _FILES:
        if not (folder / name).is_file():
            raise _DamagedError(f"{name} is missing")
        size, expected = (folder / name).stat().st_size, manifest["files"][name]["size"]
        if size != expected:
            raise _DamagedError(f"{name} has {size:,} bytes, not {expected:,}")
    for name in _FILES:
        if sha256_of(folder / name) != manifest["files"][name]["sha256"]:
            raise _DamagedError(f"{name} differs from its SHA-256")
    state = json.loads((folder / _STATE).read_bytes())
    return Snapshot(load_weights(folder / _MODEL), load_weights(folder / _OPTIMIZER), state)


def _read_manifest(folder: Path) -> Any:
    path = folder / _MANIFEST
    if not path.is_file():
        raise _DamagedError(f"{_MANIFEST} is missing")
    text = path.read_bytes()
    try:
        manifest = json.loads(text)
    except ValueError as error:
        raise _DamagedError(f"{_MANIFEST} is damaged") from error
    form = manifest.get("format") if isinstance(manifest, dict) else None
    if form != FORMAT and isinstance(form, int):
        raise _DamagedError(f"its format is {form}, this calque reads {FORMAT}")
    # There is only one way to write it, so that a changed byte that still parses is detected too.
    if form != FORMAT or _manifest_text(manifest) != text or not _is_complete(manifest, folder.name):
        raise _DamagedError(f"{_MANIFEST} is damaged")
    return manifest


def _is_complete(manifest: Any, name: str) -> bool:
    match, files = _NAME.fullmatch(name), manifest.get("files")
    if match is None or manifest.get("step") != int(match[1]) or not isinstance(files, dict):
        return False
    entries = [files.get(file) for file in _FILES]
    return len(files) == len(_FILES) and all(
        isinstance(entry, dict) and isinstance(entry.get("size"), int) and isinstance(entry.get("sha256"), str)
        for entry in entries
    )


def _latest(run: Path) -> tuple[str | None, list[str]]:
    """Return the name in RUN/latest, and what is wrong with that file."""
    path = run / "latest"
    try:
        name = path.read_text("utf-8").strip()
    except FileNotFoundError:
        return None, []
    except (OSError, ValueError):
        return None, [f"{path} cannot be read"]
    return (name, []) if _NAME.fullmatch(name) else (None, [f"{path} names no checkpoint"])


def _checkpoints(folder: Path) -> list[tuple[int, int, str]]:
    """Return step, repetition and name of each checkpoint, newest first."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    matches = [match for match in map(_NAME.fullmatch, names) if match]
    return sorted(((int(match[1]), int(match[2] or 0), match[0]) for match in matches), reverse=True)


def _free_name(folder: Path, step: int) -> str:
    """Return an unused name; a step that was saved before the run resumed gets a repetition number."""
    taken = [repetition for other, repetition, _ in _checkpoints(folder) if other == step]
    return f"step-{step:06d}-{max(taken) + 1}" if taken else f"step-{step:06d}"


def remove_strays(run: Path) -> None:
    """Remove what killed writers left in the run's folder: temporary files, and checkpoints half written or removed."""
    remove_temporaries(run, run / "checkpoints")
    for path in (run / "checkpoints").glob("step-*.tmp-*"):
        shutil.rmtree(path)


def _remove_old(folder: Path, newest: str, keep: int, protect: Collection[str]) -> None:
    """Remove all but `newest` and the `keep` - 1 best others.

    A checkpoint of this step or a later one was abandoned for an earlier one, so it is removed first.
    """
    step = next(step for step, _, name in _checkpoints(folder) if name == newest)
    others = [entry for entry in _checkpoints(folder) if entry[2] != newest]
    others.sort(key=lambda entry: entry[0] >= step)
    for _, _, name in others[keep - 1 :]:
        if name not in protect:
            # Renamed before it is removed: a kill leaves a temporary, never an incomplete checkpoint.
            doomed = folder / f"{name}.tmp-{os.getpid()}"
            os.rename(folder / name, doomed)  # noqa: PTH104
            shutil.rmtree(doomed)
