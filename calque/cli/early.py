"""Checks of paths before torch is imported, which takes seconds."""

from pathlib import Path

from calque.errors import UsageError


def require_files(*paths: str | None) -> None:
    """Raise UsageError for a data file that does not exist."""
    from calque.data.files.lines import open_lines

    for path in paths:
        if path and path != "-" and not Path(path).exists():
            open_lines(path)


def require_folder(*models: str) -> None:
    """Raise UsageError for a model folder that does not exist, naming model folders next to it."""
    for model in models:
        if Path(model).is_dir():
            continue
        near = sorted(str(path.parent) for path in Path(model).parent.glob("*/recipe.json"))
        hint = f"There is {', '.join(near[:5])}" if near else "Train one with: calque train PAIRS"
        raise UsageError(f"no model folder {model!r}. {hint}.")
