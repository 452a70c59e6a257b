"""Build a model from its recipe and fill it with the weights of its folder, neither of which is trusted.

Names, shapes and types are read from the header of the safetensors file first, so that a recipe that needs more weights
than the file contains is refused before memory is allocated for it.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from calque.errors import UsageError
from calque.folder.budget import Budget, TooLargeError
from calque.folder.json_file import read_json
from calque.folder.recipe_file import first_line
from calque.folder.weights import TensorHeader, load_weights, read_headers, require_finite_weights
from calque.model import ModelConfig, Seq2Seq, build
from calque.system.files import sha256_of
from calque.system.memory import limit_kernel_cache

WEIGHTS = "model.safetensors"
Shape = tuple[int, ...]
# Bytes that a model may create besides its weights: masks, position tables, initial values that are discarded.
EXTRA_BYTES, EXTRA_TENSORS = 64 * 2**20, 1_000


def open_model(folder: Path, config: ModelConfig, source_vocab_size: int, target_vocab_size: int) -> Seq2Seq:
    """Return the model of a folder on the CPU; UsageError for weights that are missing, damaged or of another model.

    Builds within the memory that the header of the weights justifies; see `Budget`.
    """
    limit_kernel_cache()
    path = folder / WEIGHTS
    headers = read_headers(path)
    check_weights(folder)
    try:
        with _budget(headers.values()):
            model = build(config, source_vocab_size, target_vocab_size)
    except (TooLargeError, RuntimeError, MemoryError, OverflowError) as error:
        reason = "the recipe describes a larger model" if isinstance(error, TooLargeError) else first_line(error)
        raise UsageError(f"{folder}: recipe.json and {WEIGHTS} do not belong together: {reason}") from None
    shapes = {name: header.shape for name, header in headers.items()}
    _require_same(_shapes(dict(model.named_parameters())), shapes, folder)
    fill(model, load_weights(path), folder)
    return model


def check_weights(folder: Path) -> None:
    """Compare the weights of a finished run with its manifest: a flipped bit would load without an error."""
    weights, manifest = folder / WEIGHTS, folder / "manifest.json"
    try:
        expected = read_json(manifest)["files"][WEIGHTS]["sha256"]
    except FileNotFoundError:
        return
    except (KeyError, TypeError) as error:
        raise UsageError(f"{manifest} is damaged: {first_line(error)}") from None
    if sha256_of(weights) != expected:
        raise UsageError(f"{weights} is damaged: its SHA-256 is not the one in manifest.json. Copy the folder again")


def fill(model: Seq2Seq, weights: Mapping[str, Tensor], folder: Path) -> None:
    """Copy named weights into a model; raise UsageError if names or shapes differ, or if a weight is not finite."""
    parameters = dict(model.named_parameters())
    _require_same(_shapes(parameters), _shapes(weights), folder)
    require_finite_weights(weights, folder / WEIGHTS)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, Shape]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _require_same(recipe: Mapping[str, Shape], weights: Mapping[str, Shape], folder: Path) -> None:
    """Compare the tensors that a recipe describes with those of the file; UsageError names the first difference."""
    for name in [*recipe, *(name for name in weights if name not in recipe)]:
        shapes = (recipe.get(name), weights.get(name))
        if shapes[0] != shapes[1]:
            described, found = ("is missing" if shape is None else f"has the shape {shape}" for shape in shapes)
            raise UsageError(
                f"{folder}: recipe.json and {WEIGHTS} do not belong together:"
                f" {name[:100]} {described} in the recipe and {found} in the weights"
            )


def _budget(headers: Iterable[TensorHeader]) -> Budget:
    """Return the budget that a file of weights justifies; initialisation may create a second tensor for each weight."""
    sizes = [header.num_bytes for header in headers]
    return Budget(2 * sum(sizes) + EXTRA_BYTES, 8 * len(sizes) + EXTRA_TENSORS)
