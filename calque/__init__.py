"""calque: from a file of pairs to a trained, measured and served sequence-to-sequence model.

The functions of `calque.api` are imported on first use, so that `import calque` takes no time.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from calque.api import check as check
    from calque.api import compare as compare
    from calque.api import evaluate as evaluate
    from calque.api import load as load
    from calque.api import train as train

__version__ = "0.1.0"
__all__ = ["__version__", "check", "compare", "evaluate", "load", "train"]


def __getattr__(name: str) -> Any:
    if name.startswith("_") or name not in __all__:
        raise AttributeError(f"module 'calque' has no attribute {name!r}; it has {', '.join(__all__)}")
    from calque import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted(__all__)
