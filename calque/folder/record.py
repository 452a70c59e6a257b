"""run.json, the record of a run: what was asked for, on which data and versions, how far it came, how it scored."""

import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from calque.errors import UsageError
from calque.system.files import write_atomic

PACKAGES = ("calque", "torch", "numpy", "safetensors", "sentencepiece", "sacrebleu", "pydantic")


def read_record(folder: Path) -> dict[str, Any] | None:
    """Return run.json, or None where no run was started."""
    path = folder / "run.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read ({error}); start anew with --fresh or another --out") from None
    if not isinstance(record, dict) or not {"request", "data"} <= record.keys():
        raise UsageError(f"{path} is not the record of a run; take another --out")
    return record


def write_record(folder: Path, changes: dict[str, Any]) -> None:
    """Change run.json."""
    record = (read_record(folder) or {}) if (folder / "run.json").exists() else {}
    write_atomic(folder / "run.json", json.dumps(record | changes, indent=2, ensure_ascii=False) + "\n")


def versions() -> dict[str, str]:
    """Return the versions that a run depends on."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}
