"""Layers of a recipe (presets, file, --set) merged as plain dictionaries, then validated with errors for a person."""

import re
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from calque.config import help_of
from calque.errors import UsageError, did_you_mean
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
        raise UsageError(f"--config {path} is no TOML: {error}") from None


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
                raise UsageError(f"--set {setting}: {name} was set to a value before")
        place[last] = _value(value)
    return layer


def merge(base: Layer, layer: Layer, annotation: Any = Recipe) -> Layer:
    """Return `base` with `layer` laid over it; another `kind` drops the fields that it does not have."""
    merged = dict(base)
    kind = layer.get("kind")
    if kind is not None and kind != base.get("kind"):
        member = next(iter(_members(annotation, kind)), None)
        merged = {key: value for key, value in base.items() if member is None or key in member.model_fields}
        merged.pop("kind", None)
    members = list(_members(annotation, layer.get("kind", base.get("kind"))))
    for key, value in layer.items():
        below = next((member.model_fields[key].annotation for member in members if key in member.model_fields), None)
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


def validate(layer: Layer) -> Recipe:
    """Return the recipe; UsageError with path, what must hold, what is, and the nearest known name."""
    try:
        return Recipe.model_validate(layer)
    except ValidationError as error:
        mistakes = error.errors(include_url=False)
        lines = [_mistake(layer, mistake) for mistake in mistakes[:MAX_MISTAKES]]
        more = [f"and {len(mistakes) - MAX_MISTAKES} more"] if len(mistakes) > MAX_MISTAKES else []
        raise UsageError(
            "\n".join(["the recipe does not hold:" if len(lines) > 1 else "recipe:", *lines, *more])
        ) from None


def check_settings(layer: Layer) -> None:
    """Refuse settings that hold in no recipe; those of text and model must wait for the defaults that they alter."""
    validate(merge(Recipe().model_dump(), {key: value for key, value in layer.items() if key not in _ALTERED}))


C = TypeVar("C", bound=BaseModel)


def validate_section(model: type[C], values: Layer, name: str) -> C:
    """Return one section on its own; UsageError as `validate` gives."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise UsageError(f"{'.'.join([name, *map(str, first['loc'])])}: {_expected(first)}") from None


def matching_fields(key: str) -> list[tuple[str, str, str]]:
    """Return the fields whose key starts with `key`, or is it without the marks of kinds."""
    plain = [(re.sub(r"\[[^]]*\]", "", row[0]), row) for row in fields()]
    found = [row for name, row in plain if name == key or name.startswith(key and f"{key}.")]
    if not found:
        known = {name for name, _ in plain} | {name.rsplit(".", 1)[0] for name, _ in plain}
        raise UsageError(f"the recipe has no {key!r}.{did_you_mean(key, sorted(known))}")
    return found


def flatten(layer: Layer, prefix: str = "") -> Layer:
    """Return a nested dictionary as one of dotted keys."""
    flat: Layer = {}
    for key, value in layer.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return flat


def fields(model: type[BaseModel] = Recipe, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield (key, default, help) of every field; those of a union's other kinds once a kind."""
    for name, field in model.model_fields.items():
        members = list(_members(field.annotation, None))
        if not members:
            default = "needed" if field.is_required() else repr(field.get_default(call_default_factory=True))
            yield prefix + name, default, help_of(model).get(name, "")
        for member in members:
            kind = member.model_fields.get("kind")
            mark = f"[{', '.join(map(str, get_args(kind.annotation)))}]" if kind and len(members) > 1 else ""
            yield from fields(member, f"{prefix}{name}{mark}.")


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _members(annotation: Any, kind: Any) -> Iterator[type[BaseModel]]:
    """Yield the section classes in an annotation, only those of `kind` where it is given."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    choices = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    for choice in choices:
        if get_origin(choice) is Annotated or get_origin(choice) in (Union, UnionType):
            yield from _members(choice, kind)
        elif isinstance(choice, type) and issubclass(choice, BaseModel):
            own = choice.model_fields.get("kind")
            kinds = get_args(own.annotation) if own is not None else ()
            if kind is None or not kinds or kind in kinds:
                yield choice


def _mistake(layer: Layer, mistake: Any) -> str:
    path, place, annotation = [], layer, Recipe
    for part in mistake["loc"]:
        if isinstance(place, dict) and part not in place and mistake["type"] != "missing":
            continue  # the tag of a union, not a key
        members = list(_members(annotation, place.get("kind") if isinstance(place, dict) else None))
        path.append(str(part))
        if mistake["type"] == "extra_forbidden" and part == mistake["loc"][-1]:
            known = [name for member in members for name in member.model_fields]
            where = ".".join(path[:-1]) or "the recipe"
            return f"  {'.'.join(path)}: {where} has no such key.{did_you_mean(str(part), known) or _list(known)}"
        annotation = next((m.model_fields[part].annotation for m in members if part in m.model_fields), None)  # type: ignore[assignment]
        place = place[part] if isinstance(place, dict) and part in place else place
    expected = _expected(mistake)
    tags = mistake.get("ctx", {}).get("expected_tags")
    given = mistake["input"].get("kind") if tags and isinstance(mistake["input"], dict) else mistake["input"]
    if tags:
        known = [tag.strip().strip("'") for tag in tags.split(",")]
        hint = did_you_mean(str(given), known)
        return f"  {'.'.join(path)}.kind: no kind {given!r}; there are {', '.join(known)}.{hint}"
    shown = "" if isinstance(given, dict) else f" (it is {given!r})"
    return f"  {'.'.join(path)}: {expected}{shown}"


def _expected(mistake: Any) -> str:
    text: str = mistake["msg"].removeprefix("Value error, ")
    return text[:1].lower() + text[1:]


def _list(known: Sequence[str]) -> str:
    return f" It has {', '.join(dict.fromkeys(known))}." if known else ""
