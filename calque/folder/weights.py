"""Weights as safetensors: the file contains no code, and the same tensors always give the same bytes.

The file is not trusted: any problem with it is an error of one line.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from calque.errors import Diverged, UsageError
from calque.system.files import cannot_write, replacing, write_synced


def save_weights(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Replace `path` atomically; raise Diverged for a weight that is not finite, ResourceError if writing fails."""
    write_parts(path, file_parts(tensors, metadata))


def file_parts(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> tuple[bytes, memoryview]:
    """Return header and body of a safetensors file; raise Diverged for a weight that is not finite."""
    require_finite(tensors, "weight")
    return _with_metadata(to_bytes(tensors), metadata)


def write_parts(path: Path, parts: tuple[bytes, memoryview]) -> None:
    """Replace `path` atomically by the parts of a file; raise ResourceError if writing fails."""
    try:
        with replacing(path) as temporary:
            write_synced(temporary, *parts)
    except OSError as error:
        raise cannot_write(path, error, sum(map(len, parts))) from error


def load_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of `path` on the CPU; raise UsageError if it is missing, damaged or of another format."""
    if not path.is_file():
        raise UsageError(f"{path}: there is no such file of weights.")
    try:
        return dict(safetensors.torch.load_file(path))
    except Exception as error:  # a hostile header can fail anywhere in the library
        raise _damaged(path, error) from error


@dataclass(frozen=True)
class TensorHeader:
    """The shape and the size in bytes of a tensor, from the header of its file."""

    shape: tuple[int, ...]
    num_bytes: int


def read_headers(path: Path) -> dict[str, TensorHeader]:
    """Return the header of each tensor of a model's weights without reading the tensors.

    Raises UsageError if the file is missing or damaged, or if a tensor is not of 32-bit floats.
    """
    if not path.is_file():
        raise UsageError(f"{path} does not exist, or is not a regular file.")
    headers: dict[str, TensorHeader] = {}
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - not a dictionary
                part = file.get_slice(name)
                if part.get_dtype() != "F32":
                    raise UsageError(f"{path}: {name[:100]} has the type {part.get_dtype()}; weights are F32")
                shape = tuple(part.get_shape())
                headers[name] = TensorHeader(shape, 4 * math.prod(shape))
    except UsageError:
        raise
    except Exception as error:  # a hostile header can fail anywhere in the library
        raise _damaged(path, error) from error
    return headers


def require_finite_weights(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raise UsageError naming the first tensor of the file `path` that contains a NaN or an infinity."""
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise UsageError(
                f"{path}: {name[:100]} contains a NaN or an infinity. Copy the folder again, or train again"
            )


def require_finite(tensors: Mapping[str, Tensor], what: str) -> None:
    """Raise Diverged naming the first tensor that contains a NaN or an infinity."""
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise Diverged(f'The {what} "{name}" contains a NaN or an infinity; nothing was saved.')


def _damaged(path: Path, error: Exception) -> UsageError:
    reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
    return UsageError(f"{path}: damaged, or not a safetensors file ({reason}).")


def to_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """Return the tensors in safetensors form; views and tensors that share memory are written out in full.

    `save_file` is not used: it writes a temporary file that only its owner may read.
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
    """Write `metadata` into the header in sorted order: the library's order is random, and hashes would differ."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = {"__metadata__": dict(sorted(metadata.items())), **json.loads(data[8:end])}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, memoryview(data)[end:]
