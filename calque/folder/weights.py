"""Weights as safetensors: nothing in the file can run, and the same tensors always give the same bytes.

Reading never trusts the file: whatever is wrong with it ends in one line for the user.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from calque.errors import Diverged, UsageError
from calque.system.files import cannot_write, replacing, write_synced


def save_weights(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Replace `path` atomically; raise Diverged for a weight that is not finite, ResourceError when it cannot be."""
    require_finite(tensors, "weight")
    data = to_bytes(tensors)
    header, body = _with_metadata(data, metadata)
    try:
        with replacing(path) as temporary:
            write_synced(temporary, header, body)
    except OSError as error:
        raise cannot_write(path, error, len(data)) from error


def load_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of `path` on the CPU; raise UsageError when it is missing, damaged or something else."""
    if not path.is_file():
        raise UsageError(f"{path}: there is no such file of weights.")
    try:
        return dict(safetensors.torch.load_file(path))
    except Exception as error:  # a hostile header can fail anywhere in the library
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise UsageError(f"{path}: damaged, or no safetensors file ({reason}).") from error


def require_finite(tensors: Mapping[str, Tensor], what: str) -> None:
    """Raise Diverged naming the first tensor that holds a NaN or an infinity."""
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise Diverged(f'The {what} "{name}" holds a NaN or an infinity; nothing was saved.')


def to_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """Return the tensors in safetensors form; views and tensors that share memory are written out in full.

    Not `save_file`: it writes through a temporary of its own that only the owner may read.
    """
    seen: set[int] = set()
    unique: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu()
        storage = tensor.untyped_storage()
        shares = storage.data_ptr() in seen or storage.nbytes() != tensor.nbytes or not tensor.is_contiguous()
        seen.add(storage.data_ptr())
        unique[name] = tensor.clone(memory_format=torch.contiguous_format) if shares else tensor
    return safetensors.torch.save(unique)


def _with_metadata(data: bytes, metadata: Mapping[str, str]) -> tuple[bytes, memoryview]:
    """Put `metadata` into the header, sorted: the library orders it at random, and hashes would differ."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = {"__metadata__": dict(sorted(metadata.items())), **json.loads(data[8:end])}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, memoryview(data)[end:]
