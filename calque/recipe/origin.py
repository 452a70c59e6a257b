"""What a recipe takes over from the model that training starts from: its text side, its parts, what it reads."""

from pathlib import Path

from calque.errors import UsageError
from calque.folder.recipe_file import read_sections
from calque.recipe.layers import Layer, merge, spread_text
from calque.recipe.tree import Recipe

TAKEN = ("task", "text", "model", "search")
# Found in the data that are read now.
FOUND = ("target_script",)
# Files that the model started from itself; its tables hold them already.
VECTORS = ("source_vectors", "target_vectors")


def origin_of(settings: Layer) -> Path | None:
    """Return the model folder that settings name to start from, if any."""
    folder = settings.get("train", {}).get("start_from", "")
    return Path(str(folder)) if folder else None


def with_origin(settings: Layer, languages: tuple[str, str]) -> Layer:
    """Return settings laid over what the model that they start from has; as they are where they name none.

    `languages` of the new data, where they are known, go before those of the model. UsageError for text settings: the
    tokens are those that the weights were trained with.
    """
    folder = origin_of(settings)
    if folder is None:
        return settings
    if settings.get("text"):
        raise UsageError(
            f"text.{next(iter(settings['text']))} cannot be set beside train.start_from: tokens stay those of {folder},"
            " whose weights know no others. Leave it out, or train a new model."
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
