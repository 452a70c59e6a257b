"""What a Transformer refuses, and with which words: widths, positions that end, coverage in the score."""

from typing import Any

import pytest
import torch

from calque.batch import Source
from calque.errors import UsageError
from calque.nn.embedding import Embedding
from calque.nn.parts import Memory, MemoryShape
from calque.nn.transformer.encoder_decoder import (
    TransformerDecoder,
    TransformerDecoderConfig,
    TransformerEncoder,
    TransformerEncoderConfig,
)
from calque.recipe.layers import merge, read_settings, validate
from calque.recipe.tree import Recipe

WIDTH = 12
SMALL = {"kind": "transformer", "layers": 2, "width": WIDTH, "heads": 3, "feed_forward": 20}
SHAPE = MemoryShape(WIDTH, WIDTH, 1, False)


def encoder(**fields: Any) -> TransformerEncoder:
    config = TransformerEncoderConfig.model_validate(SMALL | fields)
    return TransformerEncoder(config, Embedding(13, config.width))


def decoder(**fields: Any) -> TransformerDecoder:
    config = TransformerDecoderConfig.model_validate(SMALL | fields)
    return TransformerDecoder(config, Embedding(13, config.width), SHAPE)


def source() -> Source:
    return Source(torch.full((2, 4), 5), torch.ones(2, 4, dtype=torch.bool))


def memory() -> Memory:
    return Memory(torch.randn(2, 5, WIDTH), torch.ones(2, 5, dtype=torch.bool), ())


@pytest.mark.parametrize("side", ["encoder", "decoder"])
def test_learned_positions_end_with_an_error_that_names_them(side: str) -> None:
    part = {"positions": {"kind": "learned", "limit": 3}}
    with pytest.raises(UsageError, match=rf"model\.{side}\.positions\.limit is 3: a sequence of 4 tokens"):
        encoder(**part)(source()) if side == "encoder" else decoder(**part)(torch.full((2, 4), 5), memory())


@torch.no_grad()
def test_a_hypothesis_may_run_past_learned_positions() -> None:
    part = decoder(positions={"kind": "learned", "limit": 2}).eval()
    context, state = part.start(memory())
    for _ in range(5):
        output, state = part.step(torch.tensor([5, 6]), state, context)
        assert output.hidden.isfinite().all()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"width": 10}, ["model.{side}.width", "multiple", "model.{side}.heads", "3", "10"]),
        ({"key_value_heads": 2}, ["model.{side}.heads", "multiple", "model.{side}.key_value_heads", "2", "3"]),
        ({"width": 9}, ["model.{side}.width", "even", "9"]),
        ({"width": 9, "positions": {"kind": "rotary"}}, ["model.{side}.positions", "rotary", "model.{side}.heads"]),
    ],
)
@pytest.mark.parametrize("side", ["encoder", "decoder"])
def test_what_does_not_fit_is_refused_and_named(side: str, fields: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        encoder(**fields) if side == "encoder" else decoder(**fields)
    for word in words:
        assert word.format(side=side) in str(caught.value)


@pytest.mark.parametrize("setting", ["layers=0", "heads=0", "dropout=1.0", "layer_drop=1.0", "norm_epsilon=0"])
def test_numbers_out_of_range_name_their_field(setting: str) -> None:
    with pytest.raises(UsageError, match=rf"model\.decoder\.{setting.partition('=')[0]}: must be"):
        validate(merge(Recipe().model_dump(), read_settings([f"model.decoder.{setting}"])))


def test_a_width_of_heads_frees_the_width() -> None:
    part = encoder(width=10, head_width=6)
    assert part.layers[0].attention.query.weight.shape == (18, 10)
    assert part.layers[0].attention.output.weight.shape == (10, 18)


@pytest.mark.parametrize("positions", ["relative", "rotary", "alibi"])
@pytest.mark.parametrize("mixer", ["ssru", "average"])
def test_distances_need_self_attention(positions: str, mixer: str) -> None:
    with pytest.raises(UsageError) as caught:
        decoder(positions={"kind": positions}, mixer={"kind": mixer})
    for word in ("model.decoder.positions", positions, "model.decoder.mixer", mixer, "sinusoidal"):
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "field"),
    [
        ("model.decoder.coverage=true", "coverage"),
        ("model.decoder.attention.coverage=true", "attention"),
        ("model.decoder.attention.kind=additive", "attention"),
        ("model.decoder.input_feeding=true", "input_feeding"),
    ],
)
def test_coverage_in_the_score_of_a_transformer_is_refused_with_the_reason(setting: str, field: str) -> None:
    with pytest.raises(UsageError) as caught:
        validate(merge(Recipe().model_dump(), read_settings([setting])))
    message = str(caught.value)
    for word in ("model.decoder: ", field, "no position can depend on the attention", "coverage_loss", "kind = lstm"):
        assert word in message
    assert len(message.splitlines()) <= 6
