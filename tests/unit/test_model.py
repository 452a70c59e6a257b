"""The model: losses in chunks, what does not fit together is refused by name, and attention can be looked at."""

from typing import Any

import pytest
import torch

from calque.batch import Batch
from calque.data.collate import collate_pairs
from calque.errors import UsageError
from calque.model import ModelConfig, Seq2Seq, build
from calque.nn.parts import Head
from calque.text.source import plain_sources

VOCAB_SIZE = 13
TRANSFORMER = {"kind": "transformer", "layers": 1, "width": 8, "heads": 2, "feed_forward": 12}
LSTM = {"kind": "lstm", "layers": 1, "width": 8}


def made(
    encoder: dict[str, Any], decoder: dict[str, Any], tie: str = "target", sizes: tuple[int, int] = (13, 13)
) -> Seq2Seq:
    torch.manual_seed(0)
    config = ModelConfig.model_validate({"encoder": encoder, "decoder": decoder, "tie_embeddings": tie})
    return build(config, *sizes)


def batch() -> Batch:
    return collate_pairs(plain_sources([[4, 5, 6], [7], [8, 9]]), [[9, 8, 7, 6, 5], [4], [10, 11, 12]])


def losses_and_gradients(model: Seq2Seq, smoothing: float) -> tuple[torch.Tensor, list[torch.Tensor]]:
    model.zero_grad()
    losses = model.losses(batch(), smoothing)
    losses.square().sum().backward()
    return losses.detach(), [parameter.grad.clone() for parameter in model.parameters()]


@pytest.mark.parametrize("part", [TRANSFORMER, LSTM], ids=lambda part: part["kind"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("at_once", [1, VOCAB_SIZE, 2 * VOCAB_SIZE, 5 * VOCAB_SIZE])
def test_losses_in_chunks_are_the_losses(part, smoothing: float, at_once: int, monkeypatch) -> None:
    """A head without a fused loss of its own computes in chunks what the fused loss gives."""
    model = made(part, part).eval()
    fused, fused_gradients = losses_and_gradients(model, smoothing)
    monkeypatch.setattr(type(model.head), "losses", Head.losses)
    whole, gradients = losses_and_gradients(model, smoothing)
    extents: list[int] = []
    score = model.head.log_probs
    monkeypatch.setattr("calque.nn.parts.SCORES_AT_ONCE", at_once)
    monkeypatch.setattr(
        model.head, "log_probs", lambda output, context: (extents.append(len(output.hidden)), score(output, context))[1]
    )
    cut, cut_gradients = losses_and_gradients(model, smoothing)
    assert max(extents) == max(1, at_once // VOCAB_SIZE)
    torch.testing.assert_close(cut, whole, rtol=1e-5, atol=1e-6)
    for left, right in zip(cut_gradients, gradients, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(fused, whole, rtol=1e-5, atol=1e-6)
    for left, right in zip(fused_gradients, gradients, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-5)


def test_losses_are_zero_at_padding_and_only_there() -> None:
    data = batch()
    losses = made(TRANSFORMER, TRANSFORMER).eval().losses(data)
    assert losses.shape == data.target.mask.shape
    assert torch.equal(losses > 0, data.target.mask)


@pytest.mark.parametrize(
    ("encoder", "decoder", "tie", "sizes", "words"),
    [
        (LSTM, LSTM, "all", (13, 12), ["model.tie_embeddings", "joint", "13", "12"]),
        (LSTM, LSTM | {"width": 6}, "all", (13, 13), ["model.tie_embeddings", "width", "8", "6"]),
        (
            LSTM,
            LSTM | {"width": 6, "attention": {"kind": "dot"}},
            "none",
            (13, 13),
            ["model.decoder.attention", "8", "6"],
        ),
        (LSTM, LSTM | {"layers": 2, "bridge": "final"}, "none", (13, 13), ["model.decoder.bridge", "dense"]),
        (LSTM, LSTM | {"width": 6, "bridge": "final"}, "none", (13, 13), ["model.decoder.bridge", "8", "6"]),
        (LSTM | {"kind": "gru"}, LSTM | {"bridge": "final"}, "none", (13, 13), ["model.decoder.bridge"]),
        (TRANSFORMER, LSTM | {"bridge": "final"}, "none", (13, 13), ["model.decoder.bridge"]),
        (
            LSTM,
            LSTM | {"input_feeding": True, "attention": {"kind": "none"}},
            "none",
            (13, 13),
            ["model.decoder.input_feeding", "model.decoder.attention.kind"],
        ),
        (LSTM | {"width": 7}, LSTM, "none", (13, 13), ["model.encoder.width", "even", "7"]),
        (TRANSFORMER | {"width": 9, "heads": 3}, LSTM, "none", (13, 13), ["model.encoder.width", "even", "9"]),
        (
            TRANSFORMER | {"width": 10, "heads": 3},
            LSTM,
            "none",
            (13, 13),
            ["model.encoder.width", "multiple", "3", "10"],
        ),
        (LSTM, TRANSFORMER | {"width": 9, "heads": 3}, "none", (13, 13), ["model.decoder.width", "even", "9"]),
        (LSTM, TRANSFORMER | {"width": 10, "heads": 3}, "none", (13, 13), ["model.decoder.width", "heads", "3", "10"]),
    ],
)
def test_what_does_not_fit_is_refused_and_named(
    encoder, decoder, tie: str, sizes: tuple[int, int], words: list[str]
) -> None:
    with pytest.raises(UsageError) as caught:
        made(encoder, decoder, tie, sizes)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("odd", [LSTM | {"width": 7, "bidirectional": False}, LSTM | {"kind": "rnn"}])
def test_what_fits_is_built(odd) -> None:
    model = made(odd, {key: value for key, value in odd.items() if key != "bidirectional"}, "all")
    assert model.losses(batch()).isfinite().all()


def test_the_number_of_layers_reaches_the_model() -> None:
    for part in (TRANSFORMER, LSTM):
        model = made(part | {"layers": 3}, part | {"layers": 2})
        layers = model.encoder.layers if part is TRANSFORMER else model.encoder.layers.layers
        assert len(layers) == 3


@pytest.mark.parametrize("decoder", [TRANSFORMER, LSTM], ids=lambda part: part["kind"])
@torch.no_grad()
def test_attention_is_a_distribution_over_the_source(decoder) -> None:
    data = batch()
    weights = made(TRANSFORMER, decoder).eval().attention(data)
    assert weights.shape == (*data.target.mask.shape, data.source.mask.shape[1])
    torch.testing.assert_close(weights.sum(-1), torch.ones(data.target.mask.shape), rtol=1e-5, atol=1e-5)
    hidden = ~data.source.mask.unsqueeze(1).expand_as(weights)
    assert weights[hidden].eq(0).all()


def test_without_attention_there_is_none_to_see() -> None:
    model = made(LSTM, LSTM | {"attention": {"kind": "none"}}).eval()
    assert model.attention(batch()) is None
