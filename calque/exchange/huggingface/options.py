"""Read the options of a config.json, which may contain anything: each has the right type, or is refused by name."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from calque.errors import UsageError

# Larger than in any model: a number above it is damage, and would need huge memory.
LARGEST = 2**24
MOST_LAYERS = 1024


@dataclass(frozen=True)
class ModelOptions:
    """Read options; null counts as absent, and then `defaults` have precedence over the default of the call."""

    config: Mapping[str, Any]
    defaults: Mapping[str, Any]

    def whole(self, name: str, default: int, least: int = 1, most: int = LARGEST, alias: str | None = None) -> int:
        """Return a whole number; `alias` is another name of the option, whose value must be equal."""
        value = self._get(name, None)
        other = self._get(alias, None) if alias else None
        if value is not None and other is not None and value != other:
            raise UsageError(
                f"config.json: {name} is {value!r} and {alias}, another name of the same option, is {other!r}"
            )
        value = next((given for given in (value, other) if given is not None), default)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise self._wrong(name, f"a whole number from {least} to {most}", value)
        return value

    def share(self, name: str, default: float) -> float:
        """Return a number from 0 to 0.99, such as a dropout."""
        value = self._get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 0.99:
            raise self._wrong(name, "a number from 0 to 0.99", value)
        return float(value)

    def positive(self, name: str, default: float) -> float:
        """Return a number above 0 and below 1."""
        value = self._get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
            raise self._wrong(name, "a number between 0 and 1", value)
        return float(value)

    def flag(self, name: str, default: bool) -> bool:
        """Return true or false."""
        value = self._get(name, default)
        if not isinstance(value, bool):
            raise self._wrong(name, "true or false", value)
        return value

    def text(self, name: str, default: str) -> str:
        """Return a text."""
        value = self._get(name, default)
        if not isinstance(value, str):
            raise self._wrong(name, "a text", value)
        return value

    def texts(self, name: str) -> list[str]:
        """Return a list of texts, empty by default."""
        value = self._get(name, [])
        if not isinstance(value, list) or not all(isinstance(part, str) for part in value):
            raise self._wrong(name, "a list of texts", value)
        return value

    def must_be(self, name: str, wanted: Any, reason: str) -> None:
        """Raise UsageError for a value other than `wanted`."""
        value = self._get(name, wanted)
        if value != wanted:
            raise UsageError(f"config.json: {name} is {value!r}; it must be {wanted!r}: {reason}")

    def must_be_empty(self, name: str) -> None:
        """Raise UsageError for an option that calque does not have, unless its value switches nothing on."""
        if value := self._get(name, None):
            raise UsageError(f"config.json: {name} is {value!r}; calque does not have this option")

    def _get(self, name: str, default: Any) -> Any:
        value = self.config.get(name)
        return self.defaults.get(name, default) if value is None else value

    def _wrong(self, name: str, wanted: str, value: Any) -> UsageError:
        return UsageError(f"config.json: {name} must be {wanted}, but is {value!r}")
