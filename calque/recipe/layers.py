"""Layers of a recipe (presets, file, --set), merged as plain dictionaries, then validated."""

import re
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_origin

from pydantic import BaseModel, ValidationError

from calque.config import help_of, kinds_of, members, reasons
from calque.errors import UsageError, did_you_mean, is_mistyped
from calque.recipe.synonyms import field_meant
from calque.recipe.tree import Recipe

Layer = dict[str, Any]
MAX_MISTAKES = 3
_ALTERED = ("text", "model")


def read_file(path: str) -> Layer:
    """Read a TOML recipe."""
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"--config {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"--config {path} is not valid TOML: {error}") from None


def read_settings(settings: Iterable[str]) -> Layer:
    """Read `KEY=VALUE` settings: the value is TOML, else a string."""
    layer: Layer = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"--set {setting}: it needs the form KEY=VALUE, such as --set train.lr=0.001")
        place = layer
        *path, last = key.strip().split(".")
        for name in path:
            place = place.setdefault(name, {})
            if not isinstance(place, dict):
                raise UsageError(f"--set {setting}: {name} was already set to a value")
        place[last] = _value(value)
    return layer


def merge(base: Layer, layer: Layer, annotation: Any = Recipe) -> Layer:
    """Return `base` updated by `layer`; another `kind` drops the fields that it does not have."""
    merged = dict(base)
    kind = layer.get("kind")
    if kind is not None and kind != base.get("kind"):
        member = next(iter(members(annotation, kind)), None)
        merged = {key: value for key, value in base.items() if member is None or key in member.model_fields}
        merged.pop("kind", None)
    own = list(members(annotation, layer.get("kind", base.get("kind"))))
    for key, value in layer.items():
        below = next((member.model_fields[key].annotation for member in own if key in member.model_fields), None)
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = merge(merged[key], value, below)
        else:
            merged[key] = value
    return merged


def spread_text(layer: Layer) -> Layer:
    """Return a layer whose `text.KEY`, where KEY belongs to a tokenizer, is set on both sides."""
    text = layer.get("text")
    if not isinstance(text, dict):
        return layer
    own = {key: value for key, value in text.items() if key in Recipe.model_fields["text"].annotation.model_fields}  # type: ignore[union-attr]
    shared = {key: value for key, value in text.items() if key not in own}
    if shared:
        for side in ("source", "target"):
            own[side] = shared | own.get(side, {})
    return layer | {"text": own}


def with_types(settings: Layer, values: Layer) -> Layer:
    """Return settings whose values have the types of the validated `values`: "32" for a width becomes 32."""
    typed: Layer = {}
    for key, part in settings.items():
        value = values.get(key, part)
        typed[key] = with_types(part, value) if isinstance(part, dict) and isinstance(value, dict) else value
    return typed


def validate(layer: Layer) -> Recipe:
    """Return the recipe; UsageError has the path, the rule, the value, and the nearest known name.

    A section of a union that names no kind is of the default kind.
    """
    layer = with_kinds(layer, Recipe)
    try:
        return Recipe.model_validate(layer)
    except ValidationError as error:
        lines = reasons(error, Recipe, layer, _known_name)
        if len(lines) == 1:
            raise UsageError(f"recipe: {lines[0]}") from None
        more = [f"and {len(lines) - MAX_MISTAKES} more"] if len(lines) > MAX_MISTAKES else []
        shown = [f"  {line}" for line in lines[:MAX_MISTAKES]]
        raise UsageError("\n".join(["invalid recipe:", *shown, *more])) from None


def _known_name(path: str, known: Sequence[str]) -> str:
    name = path.rpartition(".")[2]
    # A typing error of a known name, unless it is the name of a field in another toolkit.
    meant = None if is_mistyped(name, known) else field_meant(name)
    return f" Use {meant}." if meant else did_you_mean(name, known)


def with_kinds(layer: Layer, section: type[BaseModel]) -> Layer:
    """Return the values of a section, with the default kind for sections of a union without one."""
    whole = dict(layer)
    for name, value in layer.items():
        field = section.model_fields.get(name)
        if field is None or not isinstance(value, dict):
            continue
        default = field.get_default(call_default_factory=True)
        kind = value.get("kind", getattr(default, "kind", None))
        if kind is not None and isinstance(default, BaseModel) and len(list(members(field.annotation))) > 1:
            value = {"kind": kind, **value}
        below = list(members(field.annotation, kind))
        whole[name] = with_kinds(value, below[0]) if len(below) == 1 else value
    return whole


def check_settings(layer: Layer) -> None:
    """Raise UsageError for settings that no recipe allows; those of text and model are checked with the defaults."""
    now = {key: value for key, value in layer.items() if key not in _ALTERED or not isinstance(value, dict)}
    validate(merge(Recipe().model_dump(), now))


C = TypeVar("C", bound=BaseModel)


def validate_section(model: type[C], values: Layer, name: str) -> C:
    """Return one section; raise UsageError as `validate` does."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = reasons(error, model, values, _known_name)[0]
        raise UsageError(f"{name}.{first}" if error.errors()[0]["loc"] else f"{name}: {first}") from None


def matching_fields(key: str) -> list[tuple[str, str, str]]:
    """Return the fields whose key starts with `key`, or equals it without the kinds in brackets."""
    plain = [(re.sub(r"\[[^]]*\]", "", row[0]), row) for row in fields()]
    # A field of a tokenizer may be given without the side.
    keys = [
        key,
        *(key.replace("text.", f"text.{side}.", 1) for side in ("source", "target") if key.startswith("text.")),
    ]
    found = [row for name, row in plain if name in keys or name.startswith(key and f"{key}.")]
    if not found:
        known = {name for name, _ in plain} | {name.rsplit(".", 1)[0] for name, _ in plain}
        raise UsageError(f"the recipe has no {key!r}.{_known_name(key, ()) or did_you_mean(key, sorted(known))}")
    return found


def flatten(layer: Layer, prefix: str = "") -> Layer:
    """Return a nested dictionary as a dictionary of dotted keys."""
    flat: Layer = {}
    for key, value in layer.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return flat


def fields(model: type[BaseModel] = Recipe, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield (key, default, help) of every field; fields of other kinds of a union once per kind."""
    for name, field in model.model_fields.items():
        choices = list(members(field.annotation)) if get_origin(field.annotation) is not tuple else []
        if not choices:
            default = "needed" if field.is_required() else repr(field.get_default(call_default_factory=True))
            yield prefix + name, default, help_of(model).get(name, "")
        for member in choices:
            mark = f"[{', '.join(kinds_of(member))}]" if kinds_of(member) and len(choices) > 1 else ""
            yield from fields(member, f"{prefix}{name}{mark}.")


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        # It is not TOML, or has an integer of thousands of digits, or brackets nested too deeply.
        return text
