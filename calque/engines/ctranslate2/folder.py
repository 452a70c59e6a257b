"""CTranslate2's own folder of a model, written once next to the weights and named by their hash.

A copy of other weights has another name; a damaged or incomplete copy is written again.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from calque.engines.ctranslate2.engine import PLAIN, CTranslate2, Names, Setting
from calque.engines.ctranslate2.spec import PLACES, State, library, max_source, numbered, write_model
from calque.engines.eager import Eager
from calque.model import ModelConfig, Seq2Seq
from calque.system.files import sha256_of, write_atomic

FORMAT = 1
"""Version of the copy; other versions are never read."""
HOME, PREFIX = "engines", "ctranslate2-"
_SUMS = "sums.json"


@dataclass(frozen=True)
class Place:
    """The folder of a model and the SHA-256 of its weights, which identifies copies."""

    folder: Path
    weights: str

    @classmethod
    def of(cls, folder: Path) -> "Place":
        """Return the place of the model folder `folder`."""
        return cls(folder, sha256_of(folder / "model.safetensors"))


def open_engine(model: Seq2Seq, config: ModelConfig, place: Place, setting: Setting = PLAIN) -> CTranslate2:
    """Return the engine of a model that CTranslate2 supports; UsageError without the library."""
    state = model.state_dict()
    names = numbered(len(state["encoder.embedding.weight"])), numbered(len(state["decoder.embedding.weight"]))
    with copy_of(state, config, place, names) as folder:
        return load(folder, model, config, names, setting)


def load(folder: Path, model: Seq2Seq, config: ModelConfig, names: Names, setting: Setting = PLAIN) -> CTranslate2:
    """Return the engine of a folder that `write_model` has written from `model`, with these names and PLACES."""
    translator = library().Translator(
        str(folder),
        device="cpu",
        compute_type=setting.compute_type,
        intra_threads=setting.threads,
        inter_threads=setting.workers,
    )
    longest = min(PLACES, max_source(config) or PLACES), PLACES
    return CTranslate2(translator, names, Eager(model), longest, setting.workers)


@contextmanager
def copy_of(state: State, config: ModelConfig, place: Place, names: Names) -> Iterator[Path]:
    """Yield a folder with the model in CTranslate2's format: next to the weights, or a temporary one if that cannot be
    written.
    """
    home = place.folder / HOME
    wanted = home / f"{PREFIX}{FORMAT}-{place.weights[:16]}"
    if _is_whole(wanted):
        yield wanted
        return
    with tempfile.TemporaryDirectory(prefix="calque-") as made:
        folder = Path(made)
        write_model(folder, config, state, names)
        try:
            _keep(folder, wanted)
        except OSError:
            # The folder is not writable, or the disk is full: a temporary copy is used.
            yield folder
            return
    yield wanted


def _is_whole(folder: Path) -> bool:
    """Return whether there is an undamaged copy."""
    try:
        sums = json.loads((folder / _SUMS).read_text(encoding="utf-8"))
        return bool(sums) and all(sha256_of(folder / name) == value for name, value in sums.items())
    except (OSError, ValueError, AttributeError):
        return False


def _keep(made: Path, wanted: Path) -> None:
    """Rename a complete copy to its place, and remove the copies of other weights."""
    temporary = wanted.with_name(f".{wanted.name}.tmp-{os.getpid()}")
    try:
        shutil.copytree(made, temporary)
        sums = {path.name: sha256_of(path) for path in sorted(temporary.iterdir())}
        write_atomic(temporary / _SUMS, json.dumps(sums, indent=2) + "\n")
        shutil.rmtree(wanted, ignore_errors=True)
        temporary.replace(wanted)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    for other in wanted.parent.glob(f"{PREFIX}*"):
        if other != wanted:
            shutil.rmtree(other, ignore_errors=True)
