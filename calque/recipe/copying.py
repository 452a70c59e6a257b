"""How copying enters a recipe: a head that points needs a text side that notes what it can point at."""

from calque.errors import UsageError
from calque.recipe.layers import Layer
from calque.recipe.tree import Recipe


def copies(model: Layer) -> bool:
    """Say whether a section `model` copies."""
    return bool(model.get("head", {}).get("kind") == "pointer")


def check_copying(recipe: Recipe) -> None:
    """Refuse a pointer without what it points at."""
    if recipe.model.head.kind == "pointer" and not recipe.text.copying:
        raise UsageError(
            "model.head: pointer copies source tokens, and text.copying = false leaves out what they are; remove that"
            " setting, or take model.head.kind = softmax"
        )
