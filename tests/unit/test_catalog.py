"""Named architectures: what a name stands for."""

import pytest
import torch

from calque.catalog import architecture
from calque.model import ModelConfig, Seq2Seq, build


def made(name: str, size: str) -> Seq2Seq:
    with torch.device("meta"):
        return build(ModelConfig.model_validate(architecture(name, size)), 50, 50)


@pytest.mark.parametrize("size", ["tiny", "small", "base"])
def test_fast_is_as_deep_as_the_transformer_and_shallow_to_decode(size: str) -> None:
    fast, plain = made("fast", size), made("transformer", size)
    assert len(fast.decoder.layers) == 2
    assert len(fast.encoder.layers) + 2 == len(plain.encoder.layers) + len(plain.decoder.layers)
    assert {type(layer.self_attention).__name__ for layer in fast.decoder.layers} == {"Ssru"}
    assert fast.encoder.shape.width == plain.encoder.shape.width
    assert type(fast.encoder.positions).__name__ == "Rotary"


@pytest.mark.parametrize("size", ["tiny", "small", "base"])
def test_hybrid_reads_as_the_transformer_and_writes_by_cells(size: str) -> None:
    hybrid, plain = made("hybrid", size), made("transformer", size)
    encoders = [{name: p.shape for name, p in model.encoder.named_parameters()} for model in (hybrid, plain)]
    assert encoders[0] == encoders[1]
    assert type(hybrid.decoder).__name__ == "RecurrentDecoder"
    assert hybrid.decoder.has_attention
    assert hybrid.decoder.width == plain.decoder.width
