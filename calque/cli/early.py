"""What is refused before torch is imported, which takes seconds: paths that are not there."""

from pathlib import Path

from calque.errors import UsageError


def require_files(*paths: str | None) -> None:
    """Refuse a data file that is not there before torch is imported, which takes seconds."""
    from calque.data.files.lines import open_lines

    for path in paths:
        if path and path != "-" and not Path(path).exists():
            open_lines(path)


def require_folder(*models: str) -> None:
    """Refuse a model folder that is not there before torch is imported; name those beside it."""
    for model in models:
        if Path(model).is_dir():
            continue
        near = sorted(str(path.parent) for path in Path(model).parent.glob("*/recipe.json"))
        hint = f"There is {', '.join(near[:5])}" if near else "Train one with: calque train PAIRS"
        raise UsageError(f"no model folder {model!r}. {hint}.")
