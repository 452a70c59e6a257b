"""Keras's files: what its layers cannot express is named by field, what does not fit the model by file and layer."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.lib import format as npy
from random_models import narrow, write_random

from calque.errors import UsageError
from calque.exchange.keras.files import export_keras, import_keras, require_expressible
from calque.model import ModelConfig
from calque.predict.predictor import load

Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model with general attention, whose target table is the head's too."""
    return write_random(tmp_path_factory.mktemp("keras") / "model", narrow("lstm"))


@pytest.fixture(scope="module")
def out(folder: Path) -> Path:
    """Return what export writes of it."""
    export_keras(folder, folder.parent / "exported")
    return folder.parent / "exported"


def arrays_of(out: Path) -> Arrays:
    with np.load(out / "weights.npz") as stored:
        return dict(stored)


def test_an_export_holds_named_arrays_a_program_a_page_and_the_tokenizers(folder: Path, out: Path) -> None:
    arrays = arrays_of(out)
    state = {name: value.numpy() for name, value in load(folder, device="cpu").model.state_dict().items()}
    np.testing.assert_array_equal(arrays["projection/0"], state["head.projection.weight"].T)
    assert {"encoder_0/5", "encoder_1/0", "bridge_1/1", "attention_key/0", "combine/1"} <= arrays.keys()
    compile((out / "model.py").read_text(), "model.py", "exec")
    assert "calque import keras" in (out / "README.md").read_text()
    assert {path.name for path in (out / "text").iterdir()} == {"text.json", "source.json", "target.json"}


def test_no_name_of_a_folder_can_end_up_as_code(tmp_path: Path) -> None:
    folder = write_random(tmp_path / 'a"""\nraise ValueError\n"""', narrow("basic-lstm"))
    export_keras(folder, tmp_path / "out")
    (first, *_) = (tmp_path / "out" / "model.py").read_text().splitlines()
    assert first.startswith('"""a____raise ValueError____ as a Keras model')


def test_a_round_trip_through_the_folder_is_exact(folder: Path, out: Path, tmp_path: Path) -> None:
    assert import_keras(out, folder, tmp_path / "back") == []
    for file in ("model.safetensors", "recipe.json"):
        assert (tmp_path / "back" / file).read_bytes() == (folder / file).read_bytes()


def test_a_changed_layer_changes_and_the_others_stay_to_the_bit(folder: Path, out: Path, tmp_path: Path) -> None:
    arrays = arrays_of(out)
    arrays["encoder_1/2"] += 0.25
    np.savez(tmp_path / "changed.npz", **{name: array.astype(np.float64) for name, array in arrays.items()})
    assert import_keras(tmp_path / "changed.npz", folder, tmp_path / "new") == []
    before, after = (load(path, device="cpu").model.state_dict() for path in (folder, tmp_path / "new"))
    changed = {name for name in before if not before[name].equal(after[name])}
    assert {name.rpartition(".")[0] for name in changed} == {"encoder.layers.layers.1"}
    assert all("bias" in name for name in changed)
    biases = [
        sum(state[f"encoder.layers.layers.1.bias_{side}_l0"] for side in ("ih", "hh")) for state in (before, after)
    ]
    np.testing.assert_allclose(biases[1] - biases[0], 0.25, rtol=1e-5)


def test_a_shared_table_that_was_trained_as_two_becomes_two(folder: Path, out: Path, tmp_path: Path) -> None:
    arrays = arrays_of(out)
    arrays["projection/0"][0] += 1
    np.savez(tmp_path / "changed.npz", **arrays)
    (note,) = import_keras(tmp_path / "changed.npz", folder, tmp_path / "new")
    assert "model.tie_embeddings was target and is none" in note
    assert json.loads((tmp_path / "new" / "recipe.json").read_text())["model"]["tie_embeddings"] == "none"
    before, after = (load(path, device="cpu").model.state_dict() for path in (folder, tmp_path / "new"))
    assert before["decoder.embedding.weight"].equal(after["decoder.embedding.weight"])
    assert not before["head.projection.weight"].equal(after["head.projection.weight"])


def test_a_table_that_keras_trained_as_one_stays_one(folder: Path, out: Path, tmp_path: Path) -> None:
    arrays = arrays_of(out)
    arrays["projection/0"] *= 1.5
    arrays["target_embedding/0"] *= 1.5
    np.savez(tmp_path / "changed.npz", **arrays)
    assert import_keras(tmp_path / "changed.npz", folder, tmp_path / "new") == []
    after = load(tmp_path / "new", device="cpu").model.state_dict()
    assert after["decoder.embedding.weight"].equal(after["head.projection.weight"])


def without(name: str) -> Callable[[Arrays], Arrays]:
    return lambda arrays: {key: array for key, array in arrays.items() if key != name}


def changed(name: str, change: Callable[[np.ndarray], Any]) -> Callable[[Arrays], Arrays]:
    return lambda arrays: arrays | {name: change(arrays[name])}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (without("encoder_0/4"), "array 4 of layer encoder_0 is missing"),
        (changed("bridge_0/0", lambda array: array.T), "array 0 of layer bridge_0 has the shape 24 × 12, .* 12 × 24"),
        (
            changed("combine/1", lambda array: array[:, None]),
            "layer combine has the shape 12 × 1, but the model needs 12",
        ),
        (changed("combine/1", lambda array: np.resize(array, 100_000)), "layer combine is too large"),
        (changed("projection/1", lambda array: array.astype(int)), "layer projection has the type int64; floating"),
        (changed("projection/1", lambda array: array * np.nan), "layer projection contains a NaN"),
        (
            changed("combine/0", lambda array: np.array(None, dtype=object)),
            "layer combine has the shape a single number",
        ),
        (lambda arrays: arrays | {"lstm_3/0": np.zeros(3)}, "has no layer 'lstm_3/0.npy'; its layers are .*encoder_0"),
    ],
)
def test_arrays_that_do_not_fit_are_named(
    folder: Path, out: Path, change: Callable[[Arrays], Arrays], complaint: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "bad.npz", **change(arrays_of(out)))
    with pytest.raises(UsageError, match=complaint) as raised:
        import_keras(tmp_path / "bad.npz", folder, tmp_path / "new")
    assert "bad.npz" in str(raised.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.npz"]


def pickled(out: Path) -> bytes:
    """Return an .npz in which an array of the right shape is a pickle."""
    arrays = arrays_of(out)
    arrays["combine/1"] = np.array([None] * len(arrays["combine/1"]), dtype=object)
    data = io.BytesIO()
    np.savez(data, **arrays)
    return data.getvalue()


def rewritten(out: Path, header: bytes) -> bytes:
    """Return an .npz in which an array is nothing but a header."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive, zipfile.ZipFile(out / "weights.npz") as whole:
        for name in whole.namelist():
            archive.writestr(name, header if name == "combine/1.npy" else whole.read(name))
    return data.getvalue()


def swollen(out: Path) -> bytes:
    """Promise more than any memory holds."""
    header = io.BytesIO()
    npy.write_array_header_1_0(header, {"shape": (10**12,), "fortran_order": False, "descr": "<f4"})
    return rewritten(out, header.getvalue())


def garbled(out: Path) -> bytes:
    """Leave a bracket open."""
    header = io.BytesIO()
    npy.write_array_header_1_0(header, {"shape": (12,), "fortran_order": False, "descr": "<f4"})
    return rewritten(out, header.getvalue().replace(b"(12,)", b"(12, "))


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda out: b"", "damaged, or not an .npz"),
        (lambda out: b"no archive", "damaged, or not an .npz"),
        (lambda out: (out / "weights.npz").read_bytes()[:-40], "damaged, or not an .npz"),
        (lambda out: (out / "weights.npz").read_bytes().replace(b"NUMPY", b"NOMPY"), "damaged, or not an .npz"),
        (pickled, "layer combine has the type object"),
        (swollen, "layer combine has the shape 1000000000000, but the model needs 12"),
        (garbled, "damaged, or not an .npz"),
    ],
    ids=["empty", "text", "cut", "flipped", "pickled", "swollen", "garbled"],
)
def test_a_damaged_file_is_one_line(
    folder: Path, out: Path, damage: Callable[[Path], bytes], complaint: str, tmp_path: Path
) -> None:
    (tmp_path / "bad.npz").write_bytes(damage(out))
    with pytest.raises(UsageError, match=complaint) as raised:
        import_keras(tmp_path / "bad.npz", folder, tmp_path / "new")
    assert "\n" not in str(raised.value)


def test_files_that_are_not_there_and_folders_that_are(folder: Path, out: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        import_keras(tmp_path / "no.npz", folder, tmp_path / "new")
    with pytest.raises(UsageError, match="already exists"):
        import_keras(out, folder, folder)
    with pytest.raises(UsageError, match="already exists"):
        export_keras(folder, out)
    with pytest.raises(UsageError, match="no model folder"):
        export_keras(tmp_path / "none", tmp_path / "new")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("section", "field"),
    [
        ({"encoder": {"kind": "transformer"}}, "model.encoder.kind is transformer"),
        ({"encoder": {"kind": "ggnn"}}, "model.encoder.kind is ggnn"),
        ({"decoder": {"kind": "transformer"}}, "model.decoder.kind is transformer"),
        ({"encoder": {"layer_norm": True}}, "model.encoder.layer_norm is true"),
        ({"decoder": {"layer_norm": True}}, "model.decoder.layer_norm is true"),
        ({"decoder": {"input_feeding": True}}, "model.decoder.input_feeding is true"),
        ({"decoder": {"attention": {"kind": "multi_head"}}}, "model.decoder.attention.kind is multi_head"),
        ({"decoder": {"attention": {"kind": "local"}}}, "model.decoder.attention.kind is local"),
        ({"decoder": {"attention": {"kind": "general", "coverage": True}}}, "attention.coverage is true"),
        ({"decoder": {"attention": {"kind": "dot", "normaliser": "entmax"}}}, "attention.normaliser is entmax"),
        ({"head": {"kind": "pointer"}}, "model.head.kind is pointer"),
    ],
)
def test_what_keras_layers_cannot_express_is_named_by_its_field(section: dict[str, Any], field: str) -> None:
    plain = {"encoder": {"kind": "lstm"}, "decoder": {"kind": "lstm"}}
    whole = {**section, **{side: part | section.get(side, {}) for side, part in plain.items()}}
    require_expressible(ModelConfig.model_validate(plain))
    with pytest.raises(UsageError, match=f"{field}.* export to Keras"):
        require_expressible(ModelConfig.model_validate(whole))
