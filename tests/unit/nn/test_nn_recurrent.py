"""Deep recurrent encoders and decoders: training agrees with itself step by step, and half precision trains."""

import copy
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from calque import rows
from calque.data.collate import collate_pairs
from calque.model import ModelConfig, Seq2Seq, build
from calque.nn.recurrent import layers as recurrent_layers
from calque.nn.recurrent.encoder_decoder import RecurrentDecoder, RecurrentDecoderConfig, RecurrentEncoderConfig
from calque.text.source import plain_sources

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
VOCAB_SIZE = 13
OPTIONS: dict[str, dict[str, Any]] = {
    "residual": {"residual": True},
    "layer-norm": {"layer_norm": True},
    "variational": {"variational_dropout": 0.4},
    "all": {"residual": True, "layer_norm": True, "variational_dropout": 0.4},
}
BATCH = collate_pairs(plain_sources([[4, 5, 6], [7], [8, 9]]), [[9, 8, 7, 6, 5], [4], [10, 11, 12]])
each_kind = pytest.mark.parametrize("kind", ["rnn", "lstm", "gru"])


def model(kind: str, **options: Any) -> Seq2Seq:
    """Build a model of two layers a side in which only variational dropout draws."""
    torch.manual_seed(3)
    part = {"kind": kind, "layers": 2, "width": 8, "dropout": 0.0}
    changes = {name: options.pop(name) for name in ("input_feeding", "attention", "bridge") if name in options}
    return build(
        ModelConfig.model_validate({"encoder": part | options, "decoder": part | options | changes}),
        VOCAB_SIZE,
        VOCAB_SIZE,
    )


@each_kind
@pytest.mark.parametrize(
    "changes",
    [
        {"attention": {"kind": "none"}},
        {"attention": {"kind": "general"}},
        {"attention": {"kind": "additive", "coverage": True}},
        {"attention": {"kind": "general"}, "input_feeding": True},
    ],
    ids=["none", "general", "coverage", "fed"],
)
@torch.no_grad()
def test_in_training_too_forward_equals_the_scan_of_step(kind: str, changes: dict[str, Any]) -> None:
    """The masks are part of the state: with the same draws, step by step gives what the whole gives."""
    net = model(kind, variational_dropout=0.4, **changes).train()
    decoder, tokens = net.decoder, BATCH.target.inputs
    memory = net.encoder(BATCH.source)
    generator = torch.get_rng_state()
    whole = decoder(tokens, memory).hidden
    assert not torch.equal(torch.get_rng_state(), generator)
    torch.set_rng_state(generator)
    context, state = decoder.start(memory)
    for time, token in enumerate(tokens.unbind(dim=1)):
        output, state = decoder.step(token, state, context)
        torch.testing.assert_close(output.hidden, whole[:, time], **CLOSE)
    assert not torch.allclose(decoder.eval()(tokens, memory).hidden, whole)


@torch.no_grad()
def test_a_row_takes_its_masks_along() -> None:
    """Rows swapped and repeated after the first step give what they give in their old places."""
    net = model("lstm", variational_dropout=0.4).train()
    context, state = net.decoder.start(net.encoder(BATCH.source))
    token = torch.tensor([5, 6, 7])
    _, state = net.decoder.step(token, state, context)
    whole, _ = net.decoder.step(token, state, context)
    index = torch.tensor([2, 0, 2])
    moved, after = net.decoder.step(token[index], rows.select(state, index), rows.select(context, index))
    torch.testing.assert_close(moved.hidden, whole.hidden[index], **CLOSE)
    for kept, drawn in zip(after.masks, state.masks, strict=True):
        assert torch.equal(kept.hidden, drawn.hidden[index])
        assert torch.equal(kept.inputs, drawn.inputs[index])


def test_evaluation_has_no_masks() -> None:
    net = model("gru", variational_dropout=0.4).eval()
    _, state = net.decoder.start(net.encoder(BATCH.source))
    assert state.masks is None


@each_kind
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("kernels", ["those of the processor", "none"])
def test_half_precision_trains(
    kind: str, options: dict[str, Any], kernels: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Train in bf16 also where no kernel has it: a processor without AVX-512 refuses an LSTM."""
    if kernels == "none":
        monkeypatch.setattr(recurrent_layers, "has_bf16_kernels", lambda: False)
    net = model(kind, **options).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = net.losses(BATCH).sum()
    loss.backward()
    assert loss.isfinite()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    with torch.no_grad():
        torch.manual_seed(4)
        full = float(net.eval().losses(BATCH).sum())
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert float(net.losses(BATCH).sum()) == pytest.approx(full, rel=0.05)


@torch.no_grad()
def test_a_copy_computes_with_its_own_weights() -> None:
    """What computes a layer position by position refers to weights; those of the copy, not of the original."""
    net = model("lstm", variational_dropout=0.4).train()
    twin = copy.deepcopy(net)
    generator = torch.get_rng_state()
    expected = net.losses(BATCH)
    for parameter in net.parameters():
        parameter.zero_()
    torch.set_rng_state(generator)
    assert torch.equal(twin.losses(BATCH), expected)


def test_defaults_are_the_plain_network() -> None:
    for config in (RecurrentEncoderConfig(), RecurrentDecoderConfig()):
        assert (config.residual, config.layer_norm, config.variational_dropout) == (False, False, 0)
    assert RecurrentDecoderConfig().bridge == "dense"
    decoder = model("lstm").decoder
    assert isinstance(decoder, RecurrentDecoder)
    assert decoder.layers.adds == [False, False]


@pytest.mark.parametrize("value", [-0.1, 1.0])
def test_a_probability_that_leaves_nothing_is_refused(value: float) -> None:
    with pytest.raises(ValidationError, match="variational_dropout"):
        RecurrentEncoderConfig(variational_dropout=value)
