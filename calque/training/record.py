"""run.json, the record of a run: what was asked for, on which data and versions, how far it came, how it scored."""

import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from calque.errors import UsageError
from calque.files import write_atomic
from calque.training.config import TrainConfig

PACKAGES = ("calque", "torch", "numpy", "safetensors", "sentencepiece", "sacrebleu", "pydantic")

# What ends a run.
LIMITS = ("train.max_updates", "train.max_epochs", "train.time")
# What is meant where they are no longer given; epochs, which the data tell, stay as they are.
NO_LIMIT: dict[str, Any] = {"train.max_updates": 0, "train.time": ""}
# Settings that may change between two starts of one run, and what follows.
MAY_CHANGE = {
    **dict.fromkeys(LIMITS, "the learning rate follows the new length of the run"),
    **dict.fromkeys(
        ("train.parallel", "train.threads"),
        "the data keep their order, but the result is no longer the same bit for bit",
    ),
}


def changes(before: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
    """Return those settings of what is asked now that differ from before and may.

    A limit that is no longer given is lifted; anything else that is not given stays what it was.
    """
    lifted = {key: value for key, value in NO_LIMIT.items() if key in before and key not in asked}
    return {key: value for key, value in asked.items() if key in MAY_CHANGE and before.get(key) != value} | lifted


def limits_of(train: TrainConfig) -> str:
    """Name what may have ended a run, as whoever raises it would."""
    limits = {"--time": train.time, "train.max_updates": train.max_updates, "train.max_epochs": train.max_epochs}
    return ", ".join(f"{name} {limit}" for name, limit in limits.items() if limit)


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
