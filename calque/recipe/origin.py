"""The settings that a recipe takes from the model that training starts from: text, architecture, columns."""

from pathlib import Path

from calque.errors import UsageError
from calque.folder.recipe_file import read_sections
from calque.recipe.layers import Layer, merge, spread_text
from calque.recipe.tree import Recipe

TAKEN = ("task", "text", "model", "search")
# These are found in the new data.
FOUND = ("target_script",)
# Files that the model itself started from; its embeddings contain them already.
VECTORS = ("source_vectors", "target_vectors")


def origin_of(settings: Layer) -> Path | None:
    """Return the model folder that the settings start from, if any."""
    folder = settings.get("train", {}).get("start_from", "")
    return Path(str(folder)) if folder else None


def with_origin(settings: Layer, languages: tuple[str, str]) -> Layer:
    """Return the settings of the model to start from, updated by `settings`; only `settings` without such a model.

    Known `languages` of the new data replace those of the model. Raises UsageError for text settings: the tokens are
    those that the weights were trained with.
    """
    folder = origin_of(settings)
    if folder is None:
        return settings
    if settings.get("text"):
        raise UsageError(
            f"text.{next(iter(settings['text']))} cannot be set with train.start_from: tokens are those of {folder},"
            " since its weights belong to them. Remove the setting, or train a new model."
        )
    sections = read_sections(folder)
    taken: Layer = {name: sections[name] for name in TAKEN if isinstance(sections.get(name), dict)}
    known = FOUND + ("source_language", "target_language") * any(languages)
    taken["task"] = {key: value for key, value in taken.get("task", {}).items() if value and key not in known}
    taken["text"] = {key: value for key, value in taken.get("text", {}).items() if key not in VECTORS}
    taken["search"] = {key: value for key, value in taken.get("search", {}).items() if key != "max_length_ratio"}
    columns = sections.get("data", {}).get("columns")
    if columns:
        taken["data"] = {"columns": columns}
    return merge(taken, spread_text(settings), Recipe)
