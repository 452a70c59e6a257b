"""The base of all sections of the recipe, the bounds that sections share, and the error messages for wrong values.

The docstring under each field is its help.
"""

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from itertools import pairwise
from types import UnionType
from typing import TYPE_CHECKING, Annotated, TypeAlias, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from calque.errors import did_you_mean

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
"""A value that JSON can represent."""
JsonObject: TypeAlias = "Mapping[str, Json]"

# Bounds that many sections share. The upper bounds exceed every published model; memory is the limit before them.
Layers = Annotated[int, Field(ge=1, le=512)]
Width = Annotated[int, Field(ge=1, le=65_536)]
WidthOrAuto = Annotated[int, Field(ge=0, le=65_536)]
Units = Annotated[int, Field(ge=1, le=1_048_576)]
NumHeads = Annotated[int, Field(ge=1, le=1_024)]
DropoutRate = Annotated[float, Field(ge=0, le=0.99)]
LossWeight = Annotated[float, Field(ge=0, le=1_000)]
NumEdgeKinds = Annotated[int, Field(ge=1, le=10_000)]
NumHypotheses = Annotated[int, Field(ge=1, le=1_024)]
# Counts of updates, epochs or sentences.
Count = Annotated[int, Field(ge=1, le=1_000_000_000)]
CountOrNone = Annotated[int, Field(ge=0, le=1_000_000_000)]

# From the path of an unknown key and the known keys of its section to a sentence that suggests another key.
Hint = Callable[[str, Sequence[str]], str]
_MOST_SHOWN = 60
# Requirements by the type of pydantic's error; the names in braces are keys of the error's context.
_REQUIREMENTS = {
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be greater than {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be less than {lt}",
    "finite_number": "must be a finite number",
    "int_type": "must be an integer",
    "int_parsing": "must be an integer",
    "int_parsing_size": "must be an integer of fewer digits",
    "int_from_float": "must be an integer",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be a string",
    "tuple_type": "must be a list",
    "literal_error": "must be {expected}",
    "missing": "is missing",
    "model_type": "must be a section with fields, not a single value",
    "model_attributes_type": "must be a section with fields, not a single value",
    "dict_type": "must be a section with fields, not a single value",
    "too_short": "must have at least {min_length} entries",
    "too_long": "must have at most {max_length} entries",
    "string_too_long": "must have at most {max_length} characters",
}


class Config(BaseModel):
    """Base of all sections; unknown keys and later changes are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@cache
def help_of(section: type[BaseModel]) -> dict[str, str]:
    """Return the help of each field of a section, each on one line.

    Help is read from the source on demand, because reading it at import would delay every start.
    """
    found: dict[str, str] = {}
    for kind in reversed(section.__mro__):
        if not issubclass(kind, Config):
            continue
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
        assert isinstance(definition, ast.ClassDef)
        for field, text in pairwise(definition.body):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
                found[ast.unparse(field.target)] = " ".join(str(text.value.value).split())
    return found


def members(annotation: object, kind: object = None) -> Iterator[type[BaseModel]]:
    """Yield the section classes in the annotation of a field; with `kind`, only the classes of that kind."""
    origin = get_origin(annotation)
    if origin in (Annotated, tuple):
        yield from members(get_args(annotation)[0], kind)
    elif origin in (Union, UnionType):
        for choice in get_args(annotation):
            yield from members(choice, kind)
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel) and _is_of(annotation, kind):
        yield annotation


def kinds_of(section: type[BaseModel]) -> tuple[str, ...]:
    """Return the kinds of a section class; an empty tuple for a section without the field `kind`."""
    field = section.model_fields.get("kind")
    return get_args(field.annotation) if field else ()


def _is_of(section: type[BaseModel], kind: object) -> bool:
    return kind is None or not kinds_of(section) or kind in kinds_of(section)


def reasons(
    error: ValidationError, section: type[BaseModel] | None = None, values: object = None, hint: Hint | None = None
) -> list[str]:
    """Return one line for each mistake in the values of a section: the path, the requirement and the value.

    Without `section` and `values`, there are no suggestions for unknown keys. `hint` returns a sentence about an
    unknown key from its path and the known keys.
    """
    return [_reason(mistake, section, values, hint or _nearest) for mistake in error.errors(include_url=False)]


def _nearest(path: str, known: Sequence[str]) -> str:
    return did_you_mean(path.rpartition(".")[2], known)


def _reason(mistake: "ErrorDetails", section: type[BaseModel] | None, values: object, hint: Hint) -> str:
    keys: list[str] = []
    own = union = [section] if section else []
    place, kind = values, None
    for number, part in enumerate(mistake["loc"]):
        is_missing = mistake["type"] == "missing" and number == len(mistake["loc"]) - 1
        if isinstance(place, Mapping) and part not in place and not is_missing:
            continue  # pydantic adds the kind of a union to the location
        if mistake["type"] == "extra_forbidden" and number == len(mistake["loc"]) - 1:
            return f"{'.'.join([*keys, str(part)])}: {_unknown(str(part), keys, own, union, kind, hint)}"
        keys.append(str(part))
        if isinstance(place, Mapping):
            place = place.get(part)
        elif isinstance(place, list | tuple) and isinstance(part, int) and part < len(place):
            place = place[part]
        if isinstance(part, str):
            found = next((one.model_fields[part] for one in own if part in one.model_fields), None)
            union = list(members(found.annotation)) if found else []
        kind = place.get("kind") if isinstance(place, Mapping) else None
        own = [one for one in union if _is_of(one, kind)]
    path = ".".join(keys)
    if mistake["type"] in ("union_tag_invalid", "union_tag_not_found"):
        return f"{path}.kind: {_wrong_kind(kind, union)}"
    shown = "" if isinstance(mistake["input"], Mapping | BaseModel) else f" (it is {short(mistake['input'])})"
    return (f"{path}: " if path else "") + _requirement(mistake) + shown


def _unknown(
    key: str,
    path: Sequence[str],
    own: Sequence[type[BaseModel]],
    union: Sequence[type[BaseModel]],
    kind: object,
    hint: Hint,
) -> str:
    where = ".".join(path)
    others = list(dict.fromkeys(name for one in union if key in one.model_fields for name in kinds_of(one)))
    if others and kind is not None:
        return f"a field of {where}.kind = {' or '.join(others)}, but the kind is {kind}; remove it, or set that kind"
    known = list(dict.fromkeys(name for one in own for name in one.model_fields))
    nearest = hint(".".join([*path, key]), known) or (f" It has {', '.join(known)}." if known else "")
    return f"{where or 'the recipe'} has no such key.{nearest}"


def _wrong_kind(kind: object, union: Sequence[type[BaseModel]]) -> str:
    known = [name for one in union for name in kinds_of(one)]
    if kind is None:
        return f"is missing; there are {', '.join(known)}"
    return f"no kind {short(kind)}; there are {', '.join(known)}.{did_you_mean(str(kind), known)}"


def _requirement(mistake: "ErrorDetails") -> str:
    if mistake["type"] in _REQUIREMENTS:
        return _REQUIREMENTS[mistake["type"]].format(**mistake.get("ctx", {}))
    text = mistake["msg"].removeprefix("Value error, ")
    return text[:1].lower() + text[1:]


def short(value: object) -> str:
    """Return the `repr` of a value, shortened if it is long."""
    try:
        text = repr(value)
    except ValueError:  # an integer with more digits than Python prints
        return "a very large number"
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"
