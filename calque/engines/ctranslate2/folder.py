"""CTranslate2's own folder of a model, written once beside the weights and named by their hash.

A copy of other weights has another name, one that is damaged or cut short is written anew.
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
"""Of what is written; another is never read."""
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
    """Return the engine of a model that `ctranslate2_spec.can_take` has let pass; UsageError without the library."""
    state = model.state_dict()
    names = numbered(len(state["encoder.embedding.weight"])), numbered(len(state["decoder.embedding.weight"]))
    with copy_of(state, config, place, names) as folder:
        return load(folder, model, config, names, setting)


def load(folder: Path, model: Seq2Seq, config: ModelConfig, names: Names, setting: Setting = PLAIN) -> CTranslate2:
    """Return the engine of a folder that `write_model` has written of `model`, with those names and PLACES."""
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
    """Give a folder with the model as CTranslate2 reads it: beside the weights, or where nothing can be written
    there, one that is gone afterwards.
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
            # A folder that cannot be written to, a full disk: it serves this once.
            yield folder
            return
    yield wanted


def _is_whole(folder: Path) -> bool:
    """Return whether a copy is there, as it was written."""
    try:
        sums = json.loads((folder / _SUMS).read_text(encoding="utf-8"))
        return bool(sums) and all(sha256_of(folder / name) == value for name, value in sums.items())
    except (OSError, ValueError, AttributeError):
        return False


def _keep(made: Path, wanted: Path) -> None:
    """Move a copy into place, complete or not at all, and remove the copies of other weights."""
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
