"""Start a new run with the weights of another model, whose weights must have the same names and shapes."""

from collections.abc import Callable
from pathlib import Path

from calque.folder.model_file import check_weights, fill
from calque.folder.weights import load_weights
from calque.model import Seq2Seq


def start_from_model(folder: Path, model: Seq2Seq, report: Callable[[str], None]) -> None:
    """Set a new model's weights to those of a folder; UsageError if they are damaged or those of other parts."""
    check_weights(folder)
    fill(model, load_weights(folder / "model.safetensors"), folder)
    report(f"weights of {folder}")
