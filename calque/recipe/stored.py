"""Settings of a model folder: its search and its columns."""

from pathlib import Path

from calque.data.files.columns import Columns
from calque.folder.recipe_file import read_sections
from calque.recipe.layers import validate_section
from calque.search.options import SearchConfig


def search_options(folder: str | Path, beam: int | None = None, n_best: int = 1) -> SearchConfig | None:
    """Return a model's own search settings with another beam or more outputs; None where nothing differs."""
    if beam is None and n_best == 1:
        return None
    own = validate_section(SearchConfig, read_sections(Path(folder)).get("search"), "search").model_dump()  # type: ignore[arg-type]
    width = beam if beam is not None else max(own["beam"], n_best)
    return validate_section(SearchConfig, own | {"beam": width, "n_best": n_best}, "search")


def own_columns(folder: str | Path) -> Columns:
    """Return the column names of a model's training data."""
    return validate_section(Columns, read_sections(Path(folder))["data"].get("columns", {}), "data.columns")
