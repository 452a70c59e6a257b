"""The output folder of an export or import: it is complete or absent, and never replaces other files."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from calque.errors import UsageError
from calque.folder.weights import save_weights
from calque.system.files import cannot_write, sha256_of, sync_folder, write_atomic
from calque.text.pair import TextPair
from calque.text.tokenizers.tokenizer import write_files


@contextmanager
def new_folder(out: Path, needed: int) -> Iterator[Path]:
    """Yield a temporary folder next to `out`, which is renamed to `out` at the end, or removed after an error.

    Raises UsageError if `out` exists and is not empty, and ResourceError, with the bytes `needed`, if it cannot be
    written.
    """
    require_new(out)
    temporary = out.absolute().with_name(f".{out.absolute().name}.tmp-{os.getpid()}")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        temporary.replace(out)
        sync_folder(out.absolute().parent)
    except OSError as error:
        raise cannot_write(out, error, needed) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def require_new(out: Path) -> None:
    """Raise UsageError if `out` exists and is not an empty folder."""
    if out.is_symlink() or (out.exists() and (not out.is_dir() or any(out.iterdir()))):
        raise UsageError(f"{out} already exists; name a new folder, or remove it")


def write_model_folder(out: Path, sections: Mapping[str, Any], weights: Mapping[str, Tensor], text: TextPair) -> None:
    """Write a new model folder: recipe, weights, tokenizers, and the manifest that reveals damage."""
    with new_folder(out, sum(weight.nbytes for weight in weights.values())) as temporary:
        write_files(temporary / "text", text.files())
        write_atomic(temporary / "recipe.json", json.dumps(sections, indent=2, ensure_ascii=False) + "\n")
        save_weights(temporary / "model.safetensors", weights, {"format": "calque-1"})
        written = sorted(path for path in temporary.rglob("*") if path.is_file())
        files = {
            path.relative_to(temporary).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
            for path in written
        }
        write_atomic(temporary / "manifest.json", json.dumps({"format": 1, "files": files}, indent=2) + "\n")
