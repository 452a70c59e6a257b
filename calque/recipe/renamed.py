"""Recipe fields with a new name, whose old names are still read from files, settings and stored runs."""

from typing import Any

from calque.errors import UsageError

RENAMED = {"train.piece_tokens": "train.micro_batch_tokens"}


def renamed(layer: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return a layer with new names instead of old ones, and a notice for each; UsageError if it has both."""
    notices = []
    layer = dict(layer)
    for old, new in RENAMED.items():
        (section, before), after = old.split("."), new.rsplit(".", 1)[1]
        values = layer.get(section)
        if not isinstance(values, dict) or before not in values:
            continue
        if after in values:
            raise UsageError(f"{old} is the old name of {new}, and both are set. Remove {old}")
        layer[section] = {after if key == before else key: value for key, value in values.items()}
        notices.append(f"{old} is now called {new}; the old name is still read")
    return layer, notices


def renamed_keys(flat: dict[str, Any]) -> dict[str, Any]:
    """Return settings by dotted key with new names instead of old ones."""
    return {RENAMED.get(key, key): value for key, value in flat.items()}
