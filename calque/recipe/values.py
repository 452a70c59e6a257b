"""Settings from Python: dotted keys or nested dictionaries with Python values."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel

from calque.errors import UsageError
from calque.recipe.layers import Layer


def settings_layer(settings: Mapping[str, object], path: str = "") -> Layer:
    """Return settings such as {"train.lr": 0.001} or {"train": {"lr": 0.001}} as one nested layer.

    A string is never read as a number. Raises UsageError with key and type of a value that no recipe can contain.
    """
    if not isinstance(settings, Mapping):
        raise UsageError(f"settings is of type {type(settings).__name__}; it must be a dictionary of recipe fields")
    layer: Layer = {}
    for key, value in settings.items():
        if not isinstance(key, str) or not all(key.split(".")):
            raise UsageError(f'settings{path}: {key!r} is not a key of a recipe; a key is text such as "train.lr"')
        *parents, last = key.split(".")
        place = layer
        for name in parents:
            place = place.setdefault(name, {})
            if not isinstance(place, dict):
                raise UsageError(f"settings{path}[{key!r}]: {name} was already set to a value")
        plain = _plain(value, f"{path}[{key!r}]")
        before = place.get(last)
        if isinstance(before, dict) and isinstance(plain, dict):
            _lay_over(before, plain)
        else:
            place[last] = plain
    return layer


def _lay_over(base: Layer, layer: Layer) -> None:
    for key, value in layer.items():
        before = base.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            _lay_over(before, value)
        else:
            base[key] = value


def _plain(value: object, path: str) -> object:
    """Return a value that JSON can represent; UsageError for another type."""
    if isinstance(value, BaseModel):
        value = value.model_dump()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return settings_layer(value, path)
    if isinstance(value, list | tuple):
        return [_plain(one, f"{path}[{number}]") for number, one in enumerate(value)]
    # Scalars of numpy and torch.
    if not isinstance(value, str | int | float) and hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        value = value.item()
    if value is None or isinstance(value, str | int | float):
        return value
    raise UsageError(
        f"settings{path} is of type {type(value).__name__}; a recipe contains text, numbers, True and False, lists and"
        " dictionaries"
    )
