"""Every field of every kind of part: it has bounds, and it can be set with or without its kind, from every place."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pydantic import BaseModel

from calque.config import kinds_of, members
from calque.data.survey import SideFacts, Survey
from calque.errors import UsageError
from calque.recipe.layers import Layer, merge, read_file, read_settings, spread_text, validate
from calque.recipe.presets import Choice, preset
from calque.recipe.tree import Recipe
from calque.system.machine import Machine

LATIN = SideFacts(mean_characters=40.0, script="Latin", alphabet=60, sample=["a house"])
SURVEY = Survey(29_000, 2_900, 4, LATIN, LATIN, [])
MACHINE = Machine(cores=2, memory_bytes=8 * 2**30, gpu="", bf16_ratio=1.0)


class Place(NamedTuple):
    """A field: its dotted key, the settings that choose the kinds above it, its section and its name there."""

    key: str
    kinds: tuple[str, ...]
    section: type[BaseModel]
    name: str

    @property
    def default(self) -> Any:
        """Return the default."""
        return self.section.model_fields[self.name].get_default(call_default_factory=True)


def places(section: type[BaseModel] = Recipe, prefix: str = "", kinds: tuple[str, ...] = ()) -> Iterator[Place]:
    """Yield every field of the recipe, once for each kind of the sections above it."""
    for name, field in section.model_fields.items():
        # The sections of `encoders` are those of `encoder`.
        below = list(members(field.annotation)) if name != "encoders" else []
        if not below:
            yield Place(prefix + name, kinds, section, name)
        for member in below:
            named = kinds_of(member)[:1] if len(below) > 1 else ()
            more = tuple(f"{prefix}{name}.kind={kind}" for kind in named)
            yield from places(member, f"{prefix}{name}.", kinds + more)


ALL = list(places())
NUMBERS = [place for place in ALL if place.section.model_fields[place.name].annotation in (int, float)]
UNIONS = [place for place in ALL if place.kinds and place.name not in ("kind", "encoders")]


def bounds(place: Place) -> tuple[float, float]:
    """Return the lowest and the highest value of a numeric field; infinite where there is none."""
    metadata = place.section.model_fields[place.name].metadata
    low = [getattr(one, name) for one in metadata for name in ("ge", "gt") if hasattr(one, name)]
    high = [getattr(one, name) for one in metadata for name in ("le", "lt") if hasattr(one, name)]
    return (max(low, default=-math.inf), min(high, default=math.inf))


def run_recipe(settings: Layer) -> Recipe:
    """Return the recipe of a run with settings, as it is prepared."""
    laid = spread_text(settings)
    made = preset(Choice(), SURVEY, MACHINE, laid)
    return validate(merge(merge(Recipe().model_dump(), made.layer), laid))


def alone(place: Place, value: object) -> Layer:
    """Return a layer that sets one field and nothing else."""
    *path, last = place.key.split(".")
    layer: Layer = {last: value}
    for part in reversed(path):
        layer = {part: layer}
    return layer


def value_at(recipe: Recipe, key: str) -> object:
    """Return the value of a dotted key."""
    place: object = recipe
    for part in key.split("."):
        place = getattr(place, part)
    return place


@pytest.mark.parametrize("place", NUMBERS, ids=lambda place: " ".join([place.key, *place.kinds]))
def test_every_number_has_bounds_on_both_sides(place: Place) -> None:
    """Refuse what lies beyond either bound, an infinity and a NaN, by the key of the field."""
    low, high = bounds(place)
    assert -math.inf < low < high < math.inf
    for wrong in (low - 1, high * 2 + 1, math.inf, -math.inf, math.nan, 10**400):
        layer = merge(Recipe().model_dump(), merge(read_settings(place.kinds), alone(place, wrong)))
        with pytest.raises(UsageError, match=rf"{place.key}: must be"):
            validate(layer)


def test_there_are_as_many_numbers_as_the_recipe_prints() -> None:
    """Walk every kind, not only the default ones."""
    assert len(NUMBERS) > 100
    assert {"beta1", "layers", "paths", "window", "kernel", "n", "limit", "min_count"} <= {one.name for one in NUMBERS}


@pytest.mark.parametrize("place", UNIONS, ids=lambda place: " ".join([place.key, *place.kinds]))
def test_a_field_without_its_kind_is_that_of_the_kind_at_hand(place: Place) -> None:
    """Take the field where the kind of the preset has it, else name the kinds that have it; never a traceback."""
    try:
        recipe = run_recipe(alone(place, place.default))
    except UsageError as error:
        message = str(error)
        # The field itself, or a section on the way to it that the kind at hand does not have.
        assert any(place.key.startswith(key) for key in place_names(message)), message
        assert len(message.splitlines()) <= 6
        return
    assert value_at(recipe, place.key) == place.default


def place_names(message: str) -> list[str]:
    """Return the dotted keys that a message begins its lines with."""
    return [line.strip().removeprefix("recipe: ").partition(":")[0] for line in message.splitlines()]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("train.optimizer.beta2", 0.9),
        ("model.encoder.positions.first", 2),
        ("model.decoder.positions.closed", True),
        ("model.head.learned_bias", False),
    ],
)
def test_from_the_command_line_and_from_a_file(setting: str, value: object, tmp_path: Path) -> None:
    """Set a field of the default kind alone, by --set and by a TOML file."""
    written = str(value).lower()
    assert value_at(run_recipe(read_settings([f"{setting}={written}"])), setting) == value
    section, _, name = setting.rpartition(".")
    (tmp_path / "recipe.toml").write_text(f"[{section}]\n{name} = {written}\n", encoding="utf-8")
    assert value_at(run_recipe(read_file(str(tmp_path / "recipe.toml"))), setting) == value


def test_the_kind_of_a_file_holds_for_a_later_setting() -> None:
    """Lay a field over a file that chose the kind."""
    layers = merge({"train": {"optimizer": {"kind": "adamw"}}}, read_settings(["train.optimizer.weight_decay=0.3"]))
    assert value_at(run_recipe(layers), "train.optimizer.weight_decay") == 0.3


def test_a_decoder_of_another_kind_takes_the_default_kinds_below_it() -> None:
    """Change the decoder, and set a field of its attention without naming the kind of attention."""
    recipe = run_recipe(read_settings(["model.decoder.kind=lstm", "model.decoder.attention.coverage=true"]))
    assert value_at(recipe, "model.decoder.attention.kind") == "general"
    assert value_at(recipe, "model.decoder.attention.coverage") is True


@pytest.mark.parametrize("value", ["1" * 5000, "[" * 3000, "9" * 400, "1e999", "nan", "-inf"])
def test_a_number_that_no_machine_holds(value: str) -> None:
    """Refuse it by the key, whether it is written as an integer, a float or something that TOML cannot nest."""
    with pytest.raises(UsageError, match=r"train\.lr: must be"):
        run_recipe(read_settings([f"train.lr={value}"]))
