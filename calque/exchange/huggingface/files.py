"""Read the weights of a Hugging Face folder: one file or shards, safetensors or pickled; no code in them is run."""

import pickle
from pathlib import Path

import torch
from torch import Tensor

from calque.errors import UsageError
from calque.exchange.huggingface.text_files import read_json
from calque.folder.weights import load_weights

SAFE, OLD = "model.safetensors", "pytorch_model.bin"
INDEX = ".index.json"


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Return the tensors by name, on the CPU; UsageError naming the file that is missing or damaged."""
    for name in (SAFE, OLD):
        if (folder / name).is_file():
            return _read(folder / name)
        if (folder / (name + INDEX)).is_file():
            return _read_shards(folder / (name + INDEX))
    raise UsageError(f"{folder} has neither {SAFE} nor {OLD}; download the whole folder of the model")


def _read_shards(index: Path) -> dict[str, Tensor]:
    names = read_json(index).get("weight_map")
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise UsageError(f"{index} names no files of weights. Copy or download it again.")
    weights: dict[str, Tensor] = {}
    for name in sorted(set(names.values())):
        if Path(name).name != name or name in ("", ".", ".."):
            raise UsageError(
                f"{index} names {name[:80]!r}, which is not in this folder. Only files in the folder are read."
            )
        weights |= _read(index.parent / name)
    return weights


def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        return load_weights(path)
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UsageError(f"{path}: the file of weights is missing; download the whole folder.") from None
    except (pickle.UnpicklingError, OSError, RuntimeError, EOFError, ValueError, KeyError, AttributeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise UsageError(f"{path}: damaged, or it contains more than tensors ({reason}).") from None
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise UsageError(f"{path} contains something other than named tensors.")
    return found
