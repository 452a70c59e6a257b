"""A model folder as files for Keras, and weights that were trained there back into a model folder.

The weights are an .npz of named layers' arrays, not a .weights.h5: that one numbers layers by the order in which a
program makes them and its paths differ between versions of Keras; and these need neither Keras nor h5py to be written.
"""

import io
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.lib import format as npy
from numpy.typing import NDArray

from calque.errors import UsageError
from calque.exchange.keras.program import program
from calque.exchange.keras.weights import from_keras, to_keras
from calque.exchange.limits import CELLS, require, require_recurrent
from calque.exchange.out_folder import new_folder, require_new, write_model_folder
from calque.folder.recipe_file import first_line, read_sections
from calque.model import ModelConfig, build
from calque.predict import predictor as opening
from calque.predict.predictor import Predictor
from calque.system.files import write_atomic
from calque.text.tokenizers.tokenizer import write_files

Array = NDArray[Any]
Layers = Mapping[str, Sequence[Array]]
"""Each layer's arrays by its name."""

WEIGHTS = "weights.npz"
ATTENTIONS = ("general", "additive", "dot", "scaled_dot", "none")
LIBRARY = "Keras"
TABLES = ("encoder.embedding", "decoder.embedding", "head.projection")
# What the header of an array may take beside its numbers, which are of 8 bytes at most.
HEADER_BYTES = 4096

README = """# {name} for Keras

Written by calque from a trained model: {encoder} encoder, {decoder} decoder.

- `weights.npz`: each layer's arrays as `layer/0`, `layer/1` and so on, in the order of `layer.get_weights()`
- `model.py`: the model of these layers; needs Keras and NumPy alone
- `text/`: the files of its tokenizers, {source_size} source ids and {target_size} target ids

```python
from model import build, load_weights, save_weights

model = build()
load_weights(model)
# logits = model([source_ids, target_inputs]); train it as any other
save_weights(model, "trained.npz")
```

Then `calque import keras trained.npz OUT --like MODEL` makes a model folder OUT of the new weights and the rest of
MODEL. Source rows are closed by `</s>` (3) and padded with `<pad>` (0), target inputs begin with `<s>` (2).
"""


def export_keras(folder: Path, out: Path) -> None:
    """Write the recurrent model in `folder` to the new folder `out`: weights.npz, model.py, README.md and text/.

    UsageError naming the field of the recipe that Keras's layers cannot express, and for an `out` that is there.
    """
    require_new(out)
    predictor, config = _load(folder)
    sizes = predictor.text.source.vocab_size, predictor.text.target.vocab_size
    layers = to_keras(_state(predictor))
    name = folder.absolute().name
    page = README.format(
        name=name,
        encoder=config.encoder.kind,
        decoder=config.decoder.kind,
        source_size=sizes[0],
        target_size=sizes[1],
    )
    arrays: dict[str, Any] = {
        f"{layer}/{number}": array for layer, listed in layers.items() for number, array in enumerate(listed)
    }
    with new_folder(out, _num_bytes(layers)) as temporary:
        np.savez(temporary / WEIGHTS, **arrays)
        write_atomic(temporary / "model.py", program(config, *sizes, name))
        write_atomic(temporary / "README.md", page)
        write_files(temporary / "text", predictor.text.files())


def import_keras(path: Path, folder: Path, out: Path) -> list[str]:
    """Write the new model folder `out`: weights of `path`, an .npz (or the folder of an export), all else of `folder`.

    Layers that are as export writes them keep calque's own numbers, so that an untouched round trip is exact. Return
    what a user should know: whether tables that were one have become several. UsageError for what does not fit.
    """
    require_new(out)
    predictor, config = _load(folder)
    own = _state(predictor)
    expected = to_keras(own)
    found = read_layers(path / WEIGHTS if path.is_dir() else path, expected, folder)
    changed = {name: listed for name, listed in found.items() if not _same(listed, expected[name])}
    state = own | from_keras(changed)
    tie = _tie(config.tie_embeddings, state)
    sections = read_sections(folder)
    sections["model"] = sections["model"] | {"tie_embeddings": tie}
    # A table of several parts has several names in a state dict, in a file of weights the first of them.
    sizes = predictor.text.source.vocab_size, predictor.text.target.vocab_size
    names = dict(build(ModelConfig.model_validate(sections["model"]), *sizes).named_parameters())
    weights = {name: torch.from_numpy(np.array(state[name], dtype=np.float32)) for name in names}
    write_model_folder(out, sections, weights, predictor.text)
    if tie == config.tie_embeddings:
        return []
    return [f"model.tie_embeddings was {config.tie_embeddings} and is {tie}: Keras trained the tables apart"]


def require_expressible(config: ModelConfig) -> None:
    """Raise UsageError naming a field of the recipe that Keras's layers cannot express."""
    require("model.encoder.kind", config.encoder.kind, CELLS, LIBRARY)
    require("model.decoder.kind", config.decoder.kind, CELLS, LIBRARY)
    require_recurrent(config, ATTENTIONS, LIBRARY)
    # Keras's layers read all target positions at once; here each would wait for the one before.
    require("model.decoder.input_feeding", getattr(config.decoder, "input_feeding", False), (False,), LIBRARY)


def read_layers(file: Path, expected: Layers, folder: Path) -> dict[str, list[Array]]:
    """Return each layer's arrays of an .npz, fp32; never trusted, nor read beyond what `expected` needs.

    UsageError naming the file, and the layer where one is unknown, or lacks an array, or has one of another shape.
    """
    known = {f"{name}/{number}.npy" for name, listed in expected.items() for number in range(len(listed))}
    try:
        with zipfile.ZipFile(file) as archive:
            members = {info.filename: info for info in archive.infolist()}
            if unknown := sorted(members.keys() - known):
                layers = ", ".join(expected)
                raise UsageError(f"{file}: the model in {folder} has no {unknown[0][:80]!r}; its layers are {layers}")
            found: dict[str, list[Array]] = {}
            for name, listed in expected.items():
                for number, array in enumerate(listed):
                    what = f"{file}: array {number} of layer {name}"
                    read = _read(archive, members.get(f"{name}/{number}.npy"), array, what)
                    found.setdefault(name, []).append(read)
            return found
    except FileNotFoundError:
        raise UsageError(f"{file}: no such file; save_weights of an export's model.py writes one") from None
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise UsageError(f"{file}: damaged, or no .npz of layers' arrays ({first_line(error)})") from None


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo | None, wanted: Array, what: str) -> Array:
    """Return an array of the shape that is wanted, once its header is seen to say so."""
    if info is None:
        raise UsageError(f"{what} is missing; write all layers with save_weights of the export's model.py")
    if info.file_size > HEADER_BYTES + 8 * wanted.size:
        raise UsageError(f"{what} is too large: the model has {_shape(wanted.shape)} there")
    data = io.BytesIO(archive.read(info))
    shape, dtype = _header(data)
    if shape != wanted.shape:
        raise UsageError(f"{what} is of shape {_shape(shape)}, the model has {_shape(wanted.shape)} there")
    if dtype.kind != "f":
        raise UsageError(f"{what} holds {dtype}, not floating point numbers")
    data.seek(0)
    array: Array = npy.read_array(data, allow_pickle=False).astype(np.float32)
    if not np.isfinite(array).all():
        raise UsageError(f"{what} holds a NaN or an infinity: its training has diverged")
    return array


def _header(data: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return what an array's header says; ValueError for one that says nothing."""
    try:
        version = npy.read_magic(data)
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
        shape, _, dtype = read(data)
    except Exception as error:  # the library parses it as Python, which can fail anywhere
        raise ValueError(f"a header cannot be read: {first_line(error)}") from None
    return shape, dtype


def _load(folder: Path) -> tuple[Predictor, ModelConfig]:
    """Open a model folder; UsageError where Keras's layers cannot express the model."""
    predictor = opening.load(folder, device="cpu")
    config = ModelConfig.model_validate(read_sections(folder)["model"])
    require_expressible(config)
    return predictor, config


def _state(predictor: Predictor) -> dict[str, Array]:
    return {name: value.numpy() for name, value in predictor.model.state_dict().items()}


def _same(listed: Sequence[Array], others: Sequence[Array]) -> bool:
    return all(np.array_equal(array, other) for array, other in zip(listed, others, strict=True))


def _tie(tie: str, state: Mapping[str, Array]) -> str:
    """Return which tables are still one, of those that were."""
    source, target, head = (state[f"{name}.weight"] for name in TABLES)
    if tie == "none" or not _equal(target, head):
        return "none"
    return "all" if tie == "all" and _equal(source, target) else "target"


def _equal(table: Array, other: Array) -> bool:
    """Return whether tables are one but for the rounding of what lies between calque's and Keras's form of them."""
    return np.allclose(table, other, rtol=1e-6, atol=0)


def _shape(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape)) or "a single number"


def _num_bytes(layers: Layers) -> int:
    return sum(array.nbytes for listed in layers.values() for array in listed)
