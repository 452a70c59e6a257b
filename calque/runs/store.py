"""The token store of a run's training pairs, found by a key of everything that it depends on, or built."""

import hashlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from calque.data.files.readers import Dataset
from calque.data.store.token_store import TokenStore, build_store, open_or_build
from calque.data.survey import training_pairs
from calque.errors import DataError
from calque.recipe.lengths import position_limits
from calque.recipe.tree import Recipe
from calque.report.progress import Display
from calque.text.identity import Identity
from calque.text.pair import TextPair
from calque.text.too_long import TRAINED, TooLong


def open_store(
    folder: Path,
    recipe: Recipe,
    text: TextPair,
    sets: dict[str, Dataset],
    digests: dict[str, str],
    identity: Identity,
    display: Display,
) -> TokenStore:
    """Open the token store of the training pairs, or build it; report which pairs were too long."""
    split = "validation" not in sets
    columns = recipe.data.columns
    parts: tuple[Any, ...] = (digests["training"], text.fingerprint, recipe.data.max_length, split, columns)
    if identity.form != "raw":
        parts += (identity.form, columns.quoting)
    too_long = recipe.data.too_long
    if too_long != "split":
        parts += (too_long,)
    key = hashlib.sha256(repr(parts).encode()).hexdigest()[:32]

    def build(place: Path) -> TokenStore:
        pairs = training_pairs(sets["training"], split, identity)
        return build_store(place, pairs, text, recipe.data.max_length, _counted(display), too_long)

    store = open_or_build(folder / "data", key, build, display.note)
    record = store.record
    if record.num_shortened:
        display.note(
            f"{record.num_shortened:,} of {record.num_read:,} sources have more than {recipe.data.max_length} tokens:"
            f" {TRAINED[too_long]} (data.too_long = {too_long})"
        )
    if record.num_too_long:
        places = ", ".join(map(str, record.first_too_long))
        others = record.num_too_long - len(record.first_too_long)
        places += f" and {others:,} more" if others else ""
        display.note(
            f"{record.num_too_long:,} of {record.num_read:,} pairs have more than {recipe.data.max_length} tokens on a"
            f" side{_no_window(too_long)} and are left out (training pairs {places}); data.max_length raises the limit"
        )
    if not len(store):
        if record.num_too_long:
            raise none_fits(sets["training"].name, recipe)
        raise DataError("no pair is left to train on", sets["training"].name)
    return store


def _no_window(too_long: TooLong) -> str:
    return ", with no window that contains the target," if too_long == "windows" else ""


def none_fits(name: str, recipe: Recipe) -> DataError:
    """Return the error for data in which every pair is too long."""
    most = recipe.data.max_length
    fields = ["data.max_length", *(field for limit, field in position_limits(recipe.model) if limit <= most)]
    return DataError(
        f"no pair is left to train on: each has more than {most} tokens on a side, </s> included."
        f" Raise {' and '.join(fields)}",
        name,
    )


def _counted(display: Display) -> Callable[[int], None]:
    """Return a function that reports the number of pairs read: at 100,000 and at every million."""
    marks: Iterator[int] = itertools.chain((100_000,), itertools.count(1_000_000, 1_000_000))
    state = {"next": next(marks)}

    def report(count: int) -> None:
        if count >= state["next"]:
            display.note(f"encoded {count:,} pairs")
            state["next"] = next(marks)

    return report
