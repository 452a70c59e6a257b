"""run.json, the record of a run: the request, data, versions, progress and scores."""

import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from calque.config import reasons
from calque.errors import UsageError
from calque.folder.json_file import read_json
from calque.system.files import write_atomic

PACKAGES = ("calque", "torch", "numpy", "safetensors", "sentencepiece", "sacrebleu", "pydantic")


class _Data(BaseModel):
    name: str
    sha256: str


class _Pairs(BaseModel):
    training: int
    validation: int


class _Machine(BaseModel):
    gpu: str | None


class _Record(BaseModel):
    """The fields that continuing and completing a run read; the record contains more."""

    status: Literal["running", "finished"]
    request: dict[str, Any]
    data: dict[str, _Data]
    pairs: _Pairs
    threads: int
    machine: _Machine
    recipe: dict[str, Any]
    identity: Literal["raw", "nfc", "nfkc"] = "raw"
    text: dict[str, str] = {}
    seconds: float = 0.0
    weights: str = ""
    metrics: str = ""


_WAYS_OUT = "Restore it from a copy, start again with --fresh, or train in another folder with --out."


def read_record(folder: Path) -> dict[str, Any] | None:
    """Return run.json, or None if no run was started."""
    path = folder / "run.json"
    try:
        record = read_json(path)
    except FileNotFoundError:
        return None
    except UsageError as error:
        raise UsageError(f"{error}.\n{_WAYS_OUT}") from None
    if not isinstance(record, dict) or not {"request", "data"} <= record.keys():
        raise UsageError(f"{path} is not the record of a run. Train in another folder with --out.")
    try:
        _Record.model_validate(record, strict=True)
    except ValidationError as error:
        raise UsageError(f"{path} is damaged: {reasons(error)[0]}.\n{_WAYS_OUT}") from None
    return record


def write_record(folder: Path, changes: dict[str, Any]) -> None:
    """Change run.json."""
    record = (read_record(folder) or {}) if (folder / "run.json").exists() else {}
    write_atomic(folder / "run.json", json.dumps(record | changes, indent=2, ensure_ascii=False) + "\n")


def versions() -> dict[str, str]:
    """Return the versions that a run depends on."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}
