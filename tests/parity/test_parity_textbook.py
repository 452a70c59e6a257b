"""The textbook program of TensorFlow and `basic-lstm`: from the same weights and batches the same training.

Two LSTMs of 128 units (Sutskever et al. 2014): the encoder's final state starts the decoder, which is given the target
and scored on the target shifted by one.
"""

import math
import random
from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
import torch

from calque.batch import Batch
from calque.catalog import SIZES, architecture
from calque.data.collate import collate_pairs
from calque.exchange.keras.weights import from_keras, to_keras
from calque.model import ModelConfig, Seq2Seq, build
from calque.text.source import plain_sources
from calque.training.optimizers.adam import Adam

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:::(tensorflow|keras)")]

UNITS, SOURCE_SIZE, TARGET_SIZE = 128, 23, 19
RATE, BETAS, EPSILON = 0.002, (0.9, 0.999), 1e-7
NUM_UPDATES, ROWS = 100, 16


def program(keras: ModuleType):
    """Build the network: a layer's name is that in `calque.exchange.keras.weights`."""
    layers = keras.layers
    source = keras.Input((None,), dtype="int32")
    embedded = layers.Embedding(SOURCE_SIZE, UNITS, mask_zero=True, name="source_embedding")(source)
    _, *state = layers.LSTM(UNITS, return_state=True, name="encoder_0")(embedded)
    target = keras.Input((None,), dtype="int32")
    embedded = layers.Embedding(TARGET_SIZE, UNITS, mask_zero=True, name="target_embedding")(target)
    hidden = layers.LSTM(UNITS, return_sequences=True, name="decoder_0")(embedded, initial_state=state)
    logits = layers.Dense(TARGET_SIZE, name="projection")(hidden)
    return keras.Model([source, target], logits)


def loss_and_gradients(tensorflow: ModuleType, network) -> Callable:
    """Return a function of source, inputs and labels: the mean cross-entropy of the labels that are no padding."""
    ids = tensorflow.TensorSpec([None, None], tensorflow.int32)

    @tensorflow.function(input_signature=[ids] * 3)
    def compute(source, inputs, labels):
        with tensorflow.GradientTape() as tape:
            logits = network([source, inputs], training=True)
            each = tensorflow.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            real = tensorflow.cast(labels > 0, tensorflow.float32)
            loss = tensorflow.reduce_sum(each * real) / tensorflow.reduce_sum(real)
        gradients = tape.gradient(loss, network.trainable_variables)
        # An embedding's gradient lists the rows that were looked up.
        return loss, [tensorflow.convert_to_tensor(gradient) for gradient in gradients]

    return compute


def batches() -> list[Batch]:
    """Return a made-up corpus: the target is the source backwards, each id moved into the target's vocabulary."""
    draw = random.Random(5)
    made = []
    for _ in range(NUM_UPDATES):
        sources = [[draw.randrange(4, SOURCE_SIZE) for _ in range(draw.randint(1, 6))] for _ in range(ROWS)]
        targets = [[4 + token % (TARGET_SIZE - 4) for token in reversed(source)] for source in sources]
        made.append(collate_pairs(plain_sources(sources), targets))
    return made


def ids_of(batch: Batch) -> list[np.ndarray]:
    parts = (batch.source.tokens, batch.target.inputs, batch.target.labels)
    return [part.numpy().astype(np.int32) for part in parts]


def basic_lstm() -> Seq2Seq:
    """Build `basic-lstm` with 128 units and without dropout, which the program does not have."""
    (size,) = [name for name, extent in SIZES.items() if extent.basic == UNITS]
    section = architecture("basic-lstm", size)
    section = section | {side: section[side] | {"dropout": 0.0} for side in ("encoder", "decoder")}
    torch.manual_seed(6)
    return build(ModelConfig.model_validate(section), SOURCE_SIZE, TARGET_SIZE).train()


def mean_loss(model: Seq2Seq, batch: Batch) -> torch.Tensor:
    return model.losses(batch).sum() / batch.target.mask.sum()


def as_keras(named: dict[str, torch.Tensor]) -> dict[str, list[np.ndarray]]:
    return to_keras({name: value.detach().numpy().copy() for name, value in named.items()})


def fill(network, listed: dict[str, list[np.ndarray]]) -> None:
    for name, arrays in listed.items():
        network.get_layer(name).set_weights(arrays)


def gradients_as_keras(model: Seq2Seq) -> dict[str, list[np.ndarray]]:
    """Return calque's gradients in Keras's layout.

    calque stores an embedding divided by √D, so that its gradient is √D times Keras's. Both of its biases have the
    gradient of their sum, Keras's one bias; it is counted once.
    """
    named = {}
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        named[name] = parameter.grad
        if "bias_hh" in name:
            named[name] = torch.zeros_like(parameter)
        elif "embedding" in name:
            named[name] = parameter.grad / parameter.shape[1]
    return as_keras(named)


def test_loss_and_gradients_are_equal(tensorflow: ModuleType, keras: ModuleType) -> None:
    model, network = basic_lstm(), program(keras)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "bias" in name:
                parameter.uniform_(-0.5, 0.5)
    fill(network, as_keras(model.state_dict()))
    compute = loss_and_gradients(tensorflow, network)
    for batch in batches()[:3]:
        model.zero_grad()
        loss = mean_loss(model, batch)
        loss.backward()
        theirs, gradients = compute(*ids_of(batch))
        assert float(loss.detach()) == pytest.approx(float(theirs), abs=1e-5)
        pairs = zip(network.trainable_variables, gradients, strict=True)
        found = {id(variable): np.asarray(gradient) for variable, gradient in pairs}
        compared = 0
        for name, arrays in gradients_as_keras(model).items():
            for ours, variable in zip(arrays, network.get_layer(name).trainable_variables, strict=True):
                assert np.abs(found[id(variable)]).max() > 1e-3
                np.testing.assert_allclose(ours, found[id(variable)], rtol=1e-5, atol=1e-5)
                compared += 1
        assert compared == len(gradients)


def same_adam(model: Seq2Seq) -> Adam:
    """Return calque's Adam with Keras's hyperparameters, where the weights differ in form so that Keras's would do it.

    A table divided by √D moves at a rate divided by √D, and its gradients, √D times as large, need an epsilon as much
    larger. Of two biases that only count as their sum one is held, or the sum would move twice as fast.
    """
    tables, others = [], []
    for name, parameter in model.named_parameters():
        parameter.requires_grad = "bias_hh" not in name
        if parameter.requires_grad:
            (tables if "embedding" in name else others).append(parameter)
    assert len(tables) == 2
    root = math.sqrt(UNITS)
    groups = [
        {"params": tables, "lr": RATE / root, "epsilon_at_the_end": EPSILON * root},
        {"params": others, "lr": RATE, "epsilon_at_the_end": EPSILON},
    ]
    return Adam(groups, lr=RATE, betas=BETAS, weight_decay=0.0, fused=True)


def test_a_hundred_updates_of_adam_give_the_same_losses(tensorflow: ModuleType, keras: ModuleType) -> None:
    model, network = basic_lstm(), program(keras)
    fill(network, as_keras(model.state_dict()))
    compute = loss_and_gradients(tensorflow, network)
    optimizer = same_adam(model)
    theirs = keras.optimizers.Adam(RATE, *BETAS, epsilon=EPSILON)
    losses = []
    for number, batch in enumerate(batches(), start=1):
        loss = mean_loss(model, batch)
        loss.backward()
        for group in optimizer.param_groups:
            # Keras adds epsilon before it corrects the bias of the second moment, calque after.
            group["eps"] = group["epsilon_at_the_end"] / math.sqrt(1 - BETAS[1] ** number)
        optimizer.step()
        optimizer.zero_grad()
        expected, gradients = compute(*ids_of(batch))
        theirs.apply_gradients(zip(gradients, network.trainable_variables, strict=True))
        losses.append((float(loss.detach()), float(expected)))
    ours, expected = np.array(losses).T
    np.testing.assert_allclose(ours, expected, atol=1e-3)
    assert ours[-10:].mean() < 0.8 * ours[0]


def test_a_program_trained_in_keras_continues_in_calque(keras: ModuleType, tensorflow: ModuleType) -> None:
    """Its weights, read back by the same table, give the loss that the program gives."""
    network, model = program(keras), basic_lstm()
    names = ("source_embedding", "encoder_0", "target_embedding", "decoder_0", "projection")
    weights = from_keras({name: network.get_layer(name).get_weights() for name in names})
    model.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in weights.items()})
    batch = batches()[0]
    expected, _ = loss_and_gradients(tensorflow, network)(*ids_of(batch))
    assert float(mean_loss(model, batch).detach()) == pytest.approx(float(expected), abs=1e-5)
