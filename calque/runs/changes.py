"""What may change between two starts of one run, and what follows from the change."""

from typing import Any

from calque.training.config import TrainConfig

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
