"""The weights that a fresh run starts with, where they are not drawn at random: those of another model.

The same names and shapes are asked for, so that nothing is half taken over.
"""

from collections.abc import Callable
from pathlib import Path

from calque.folder.model_file import check_weights, fill
from calque.folder.weights import load_weights
from calque.model import Seq2Seq


def start_from_model(folder: Path, model: Seq2Seq, report: Callable[[str], None]) -> None:
    """Fill a fresh model with the weights of a folder; UsageError where they are damaged or of other parts."""
    check_weights(folder)
    fill(model, load_weights(folder / "model.safetensors"), folder)
    report(f"weights of {folder}")
