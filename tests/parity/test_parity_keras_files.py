"""Export to Keras and back: the program that is written computes the same, as does in calque what Keras trained."""

import json
import runpy
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from random_models import narrow, sentences, step_log_probs, words, write_random
from torch import Tensor

from calque.batch import Batch
from calque.data.collate import collate_pairs
from calque.exchange.keras.files import export_keras, import_keras
from calque.model import Seq2Seq
from calque.predict.predictor import load
from calque.text.source import plain_sources

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:::(tensorflow|keras)")]

WIDTH = 12


def part(kind: str, layers: int, width: int = WIDTH, **options: Any) -> dict[str, Any]:
    return {"kind": kind, "layers": layers, "width": width, **options}


def model(encoder: dict[str, Any], decoder: dict[str, Any]) -> dict[str, Any]:
    return {"encoder": encoder, "decoder": decoder, "tie_embeddings": "none"}


MODELS = {
    **{name: narrow(name, WIDTH) for name in ("basic-lstm", "lstm", "gru", "rnn")},
    "gru to lstm, additive": model(
        part("gru", 2, 10, residual=True),
        part("lstm", 3, residual=True, dropout=0.0, attention={"kind": "additive", "width": 7}),
    ),
    "lstm to rnn, dot": model(
        part("lstm", 1, bidirectional=False), part("rnn", 2, bridge="mean", attention={"kind": "dot"})
    ),
    "rnn to gru, scaled dot": model(
        part("rnn", 2, dropout=0.0), part("gru", 1, bridge="zero", attention={"kind": "scaled_dot"})
    ),
}


def batch(longest: int = 9) -> Batch:
    sizes = [side.vocab_size for side in (words().source, words().target)]
    sources, targets = (sentences(40, size, seed, longest) for seed, size in enumerate(sizes))
    return collate_pairs(plain_sources(sources), targets)


def ids_of(given: Batch) -> list[np.ndarray]:
    return [given.source.tokens.numpy(), given.target.inputs.numpy()]


def compare(made: Seq2Seq, network: Any, given: Batch) -> None:
    found = torch.from_numpy(np.array(network(ids_of(given)))).log_softmax(dim=-1)
    expected, mask = step_log_probs(made, given), given.target.mask
    torch.testing.assert_close(found[mask], expected[mask], rtol=1e-5, atol=1e-5)


def exported(folder: Path, out: Path) -> dict[str, Any]:
    """Export a model and return what its program defines."""
    export_keras(folder, out)
    return runpy.run_path(str(out / "model.py"))


@pytest.mark.parametrize("name", MODELS)
def test_the_program_computes_the_same_and_a_round_trip_is_exact(keras: ModuleType, name: str, tmp_path: Path) -> None:
    folder = write_random(tmp_path / "model", MODELS[name])
    program = exported(folder, tmp_path / "out")
    network = program["build"]()
    program["load_weights"](network)
    compare(load(folder, device="cpu").model, network, batch())
    program["save_weights"](network, tmp_path / "again.npz")
    assert import_keras(tmp_path / "again.npz", folder, tmp_path / "back") == []
    for file in ("model.safetensors", "recipe.json", "manifest.json", "text/text.json"):
        assert (tmp_path / "back" / file).read_bytes() == (folder / file).read_bytes()


def update(tensorflow: ModuleType, network: Any, given: Batch) -> None:
    """Train the network by one step of gradient descent, dropout on."""
    with tensorflow.GradientTape() as tape:
        logits = network(ids_of(given), training=True)
        labels = given.target.labels.numpy()
        losses = tensorflow.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        loss = tensorflow.reduce_sum(losses * given.target.mask.numpy())
    gradients = tape.gradient(loss, network.trainable_variables)
    for variable, gradient in zip(network.trainable_variables, gradients, strict=True):
        variable.assign_sub(0.01 * tensorflow.convert_to_tensor(gradient))


@pytest.mark.parametrize(("name", "told"), [("lstm", True), ("gru to lstm, additive", False)])
def test_what_keras_trained_goes_on_in_calque(
    tensorflow: ModuleType, keras: ModuleType, name: str, told: bool, tmp_path: Path
) -> None:
    """Where calque shares a table that Keras trained as two, it has two from then on, and says so."""
    folder = write_random(tmp_path / "model", MODELS[name])
    program = exported(folder, tmp_path / "out")
    network = program["build"]()
    program["load_weights"](network)
    update(tensorflow, network, batch(longest=3))
    program["save_weights"](network, tmp_path / "trained.npz")
    notes = import_keras(tmp_path / "trained.npz", folder, tmp_path / "new")
    made, before = load(tmp_path / "new", device="cpu").model, load(folder, device="cpu").model
    assert not torch.allclose(scores(made), scores(before), atol=1e-2)
    compare(made, network, batch())
    assert bool(notes) == told
    assert json.loads((tmp_path / "new" / "recipe.json").read_text())["model"]["tie_embeddings"] == "none"
    again = exported(tmp_path / "new", tmp_path / "again")["build"]()
    program["load_weights"](again, tmp_path / "again" / "weights.npz")
    for first, second in zip(again.get_weights(), network.get_weights(), strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-6, atol=1e-7)


def scores(made: Seq2Seq) -> Tensor:
    given = batch()
    return step_log_probs(made, given)[given.target.mask]


def test_the_program_runs_as_it_is(keras: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export_keras(write_random(tmp_path / "model", MODELS["basic-lstm"]), tmp_path / "out")
    runpy.run_path(str(tmp_path / "out" / "model.py"), run_name="__main__")
    assert "projection" in capsys.readouterr().out
