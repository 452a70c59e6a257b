"""The folder of a model: its recipe by sections and its weights, neither of which is trusted.

Whatever is missing, damaged or of another version ends in one line for the user.
"""

import json
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from calque.errors import UsageError
from calque.model import Seq2Seq
from calque.system.files import sha256_of


def read_sections(folder: Path) -> dict[str, Any]:
    """Return the sections of a model folder's recipe as plain values."""
    if not folder.is_dir():
        near = sorted(str(path.parent) for path in folder.parent.glob("*/recipe.json"))
        hint = f" There is {', '.join(near[:5])}." if near else " Train one with: calque train PAIRS."
        raise UsageError(f"no model folder {str(folder)!r}.{hint}")
    path = folder / "recipe.json"
    try:
        if path.stat().st_size > 2**20:
            raise UsageError(f"{path} is too large to be a recipe")
        sections = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        advice = "Name the folder that calque train made, such as runs/NAME"
        raise UsageError(f"{folder} is no model folder: it has no recipe.json. {advice}.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} cannot be read: {first_line(error)}") from None
    if not isinstance(sections, dict) or sections.get("format") != 1:
        raise UsageError(f"{path} is not of format 1, the only one that this version of calque reads")
    return sections


def check_weights(folder: Path) -> None:
    """Compare the weights of a finished run with its manifest: a flipped bit would load without a word."""
    weights, manifest = folder / "model.safetensors", folder / "manifest.json"
    try:
        expected = json.loads(manifest.read_text(encoding="utf-8"))["files"][weights.name]["sha256"]
    except FileNotFoundError:
        return
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{manifest} is damaged: {first_line(error)}") from None
    if sha256_of(weights) != expected:
        raise UsageError(f"{weights} is damaged: it is not the file that training wrote, says manifest.json")


def fill(model: Seq2Seq, weights: dict[str, Tensor], folder: Path) -> None:
    """Put named weights into a model; UsageError when names or shapes differ."""
    parameters = dict(model.named_parameters())
    wrong = sorted(parameters.keys() ^ weights.keys())
    wrong += [name for name in parameters if name in weights and parameters[name].shape != weights[name].shape]
    if wrong:
        raise UsageError(f"{folder}: weights and recipe do not belong together, {wrong[0]} differs")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])


def first_line(error: Exception) -> str:
    """Return what an error says, in one line."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    if isinstance(error, KeyError):
        return f"it lacks {error}"
    return str(error).splitlines()[0] if str(error) else type(error).__name__
