"""The settings that may change when a run continues, and the consequence of each change."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from calque.errors import UsageError
from calque.recipe.renamed import renamed_keys
from calque.training.config import TrainConfig

# The settings that end a run.
LIMITS = ("train.max_updates", "train.max_epochs", "train.time")
# The limits that are lifted when they are no longer given; epochs stay, since their default depends on the data.
NO_LIMIT: dict[str, Any] = {"train.max_updates": 0, "train.time": ""}
# Settings that may change when a run continues, and the consequence that is printed.
MAY_CHANGE = {
    # The schedules count updates, not minutes: a time limit ends a run at any learning rate.
    "train.time": "the learning rate does not change with it",
    **dict.fromkeys(
        ("train.max_updates", "train.max_epochs"),
        "a cosine schedule follows the new number of updates, other schedules stay the same",
    ),
    **dict.fromkeys(
        ("train.parallel", "train.threads"),
        "the data keep their order, but the result is no longer the same bit for bit",
    ),
}


def changes(before: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
    """Return the settings asked for now that differ from before and may change.

    A limit that is no longer given is lifted; every other setting that is not given keeps its value.
    """
    lifted = {key: value for key, value in NO_LIMIT.items() if key in before and key not in asked}
    return {key: value for key, value in asked.items() if key in MAY_CHANGE and before.get(key) != value} | lifted


def require_same(folder: Path, asked: dict[str, Any], digests: Mapping[str, str], record: Mapping[str, Any]) -> None:
    """Refuse to continue a run with other data or settings than it was started with; UsageError lists them."""
    before = renamed_keys(record["request"])
    fixed = sorted((asked.keys() | before.keys()) - MAY_CHANGE.keys())
    pairs = [(key, before.get(key), asked.get(key)) for key in fixed]
    lines = [f"  {key}: {then!r} before, {now!r} now" for key, then, now in pairs if then != now]
    for role in sorted(digests.keys() | record["data"].keys()):
        if digests.get(role) != record["data"].get(role, {}).get("sha256"):
            lines.append(f"  {role} data: not the same as before")
    if lines:
        shown = [*lines[:3], *([f"  and {len(lines) - 3} more"] if len(lines) > 3 else [])]
        ways = "Use another folder with --out, or start again with --fresh."
        raise UsageError("\n".join([f"{folder} already contains a different run:", *shown, ways]))


def limits_of(train: TrainConfig) -> str:
    """Return the limits that may have ended a run, by the names of their options or fields."""
    limits = {"--time": train.time, "train.max_updates": train.max_updates, "train.max_epochs": train.max_epochs}
    return ", ".join(f"{name} {limit}" for name, limit in limits.items() if limit)
