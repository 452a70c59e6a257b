"""Export a model folder to Keras, and import weights that were trained there into a model folder.

The weights are an .npz with the arrays of named layers. A .weights.h5 numbers layers in the order in which a program
makes them, its paths differ between versions of Keras, and writing it needs h5py.
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
"""The arrays of each layer, by its name."""

WEIGHTS = "weights.npz"
ATTENTIONS = ("general", "additive", "dot", "scaled_dot", "none")
LIBRARY = "Keras"
TABLES = ("encoder.embedding", "decoder.embedding", "head.projection")
# Size of an array's header; its numbers have at most 8 bytes each.
HEADER_BYTES = 4096

README = """# {name} for Keras

Written by calque from a trained model: {encoder} encoder, {decoder} decoder.

- `weights.npz`: the arrays of each layer as `layer/0`, `layer/1` and so on, in the order of `layer.get_weights()`
- `model.py`: the model with these layers; it needs only Keras and NumPy
- `text/`: the files of the tokenizers, {source_size} source ids and {target_size} target ids

```python
from model import build, load_weights, save_weights

model = build()
load_weights(model)
# logits = model([source_ids, target_inputs]); train it like any other model
save_weights(model, "trained.npz")
```

Then `calque import keras trained.npz OUT --like MODEL` writes a model folder OUT with the new weights and the other
files of MODEL. Source rows end with `</s>` (3) and are padded with `<pad>` (0); target inputs begin with `<s>` (2).
"""


def export_keras(folder: Path, out: Path) -> None:
    """Write the recurrent model in `folder` to the new folder `out`: weights.npz, model.py, README.md and text/.

    Raises UsageError for a field of the recipe that Keras's layers cannot express, and if `out` exists.
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
    """Write a new model folder `out` with the weights of `path` (an .npz or an exported folder).

    Everything else comes from `folder`. Layers that have not changed since the export keep calque's own numbers, so
    that a round trip is exact. Returns notices, such as one about tied tables that have become different. Raises
    UsageError for weights that do not fit.
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
    # A table that several parts share has several names in a state dict; a file of weights has the first of them.
    sizes = predictor.text.source.vocab_size, predictor.text.target.vocab_size
    names = dict(build(ModelConfig.model_validate(sections["model"]), *sizes).named_parameters())
    weights = {name: torch.from_numpy(np.array(state[name], dtype=np.float32)) for name in names}
    write_model_folder(out, sections, weights, predictor.text)
    if tie == config.tie_embeddings:
        return []
    return [f"model.tie_embeddings was {config.tie_embeddings} and is {tie}: Keras trained the tables separately"]


def require_expressible(config: ModelConfig) -> None:
    """Raise UsageError naming a field of the recipe that Keras's layers cannot express."""
    require("model.encoder.kind", config.encoder.kind, CELLS, LIBRARY)
    require("model.decoder.kind", config.decoder.kind, CELLS, LIBRARY)
    require_recurrent(config, ATTENTIONS, LIBRARY)
    # Keras's layers read all target positions at once; here each position needs the one before.
    require("model.decoder.input_feeding", getattr(config.decoder, "input_feeding", False), (False,), LIBRARY)


def read_layers(file: Path, expected: Layers, folder: Path) -> dict[str, list[Array]]:
    """Return the arrays of each layer of an .npz, in fp32.

    The file is not trusted, and only what `expected` needs is read. Raises UsageError that names the file,
    and a layer that is unknown, lacks an array, or has one of another shape.
    """
    known = {f"{name}/{number}.npy" for name, listed in expected.items() for number in range(len(listed))}
    try:
        with zipfile.ZipFile(file) as archive:
            members = {info.filename: info for info in archive.infolist()}
            if unknown := sorted(members.keys() - known):
                layers = ", ".join(expected)
                raise UsageError(
                    f"{file}: the model in {folder} has no layer {unknown[0][:80]!r}; its layers are {layers}"
                )
            found: dict[str, list[Array]] = {}
            for name, listed in expected.items():
                for number, array in enumerate(listed):
                    what = f"{file}: array {number} of layer {name}"
                    read = _read(archive, members.get(f"{name}/{number}.npy"), array, what)
                    found.setdefault(name, []).append(read)
            return found
    except FileNotFoundError:
        raise UsageError(
            f"{file}: there is no such file; save_weights in the model.py of an export writes it"
        ) from None
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise UsageError(f"{file}: damaged, or not an .npz with arrays of layers ({first_line(error)})") from None


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo | None, wanted: Array, what: str) -> Array:
    """Return an array, after its header has been checked for the wanted shape."""
    if info is None:
        raise UsageError(f"{what} is missing; write all layers with save_weights in the model.py of the export")
    if info.file_size > HEADER_BYTES + 8 * wanted.size:
        raise UsageError(f"{what} is too large: the model needs the shape {_shape(wanted.shape)}")
    data = io.BytesIO(archive.read(info))
    shape, dtype = _header(data)
    if shape != wanted.shape:
        raise UsageError(f"{what} has the shape {_shape(shape)}, but the model needs {_shape(wanted.shape)}")
    if dtype.kind != "f":
        raise UsageError(f"{what} has the type {dtype}; floating-point numbers are needed")
    data.seek(0)
    array: Array = npy.read_array(data, allow_pickle=False).astype(np.float32)
    if not np.isfinite(array).all():
        raise UsageError(f"{what} contains a NaN or an infinity: its training has diverged")
    return array


def _header(data: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return type and shape from the header of an array; ValueError if it cannot be read."""
    try:
        version = npy.read_magic(data)
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
        shape, _, dtype = read(data)
    except Exception as error:  # the library parses it as Python, which can fail in many ways
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
