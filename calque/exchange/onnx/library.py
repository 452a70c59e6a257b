"""The ONNX libraries, imported at first use: the format, torch's exporter, and the runtime for the comparison."""

import importlib
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from calque.errors import UsageError

LIBRARIES = ("onnx", "onnxscript", "onnxruntime")


def require_libraries() -> None:
    """Raise UsageError, with the command that installs them, if one of the libraries is missing."""
    for name in LIBRARIES:
        library(name)


def library(name: str) -> ModuleType:
    """Return a library; raise UsageError if it cannot be imported."""
    try:
        with quiet():
            return importlib.import_module(name)
    except ImportError as error:
        raise UsageError(
            f"export to ONNX needs {name}, which cannot be imported ({error}); install it with:"
            f" pip install {' '.join(LIBRARIES)}"
        ) from None


@contextmanager
def quiet() -> Iterator[None]:
    """Hide the libraries' messages from the user; the result is compared with the model afterwards."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
