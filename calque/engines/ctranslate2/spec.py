"""Conversion of a Transformer to CTranslate2: which models it supports, and the place of each weight.

Distances, heads and norms are computed in the same way there; only the layout of the weights differs.
"""

import importlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from calque.errors import UsageError
from calque.ids import SPECIALS
from calque.model import ModelConfig
from calque.nn.embedding import sinusoids
from calque.nn.transformer.config import TransformerConfig
from calque.nn.transformer.encoder_decoder import TransformerDecoderConfig, TransformerEncoderConfig
from calque.nn.transformer.feed_forward import ACTIVATIONS
from calque.nn.transformer.positions import LearnedConfig, RelativeConfig, RotaryConfig, SinusoidalConfig

LIBRARY = "CTranslate2"
PLACES = 4096
"""The number of positions that are written as a table, and so the longest source or target."""

# Its names of the activation functions; a gate is a separate option.
FUNCTIONS = {
    "relu": "RELU",
    "gelu": "GELU",
    "gelu_tanh": "GELUTanh",
    "silu": "SWISH",
    "swiglu": "SWISH",
    "geglu": "GELU",
    "geglu_tanh": "GELUTanh",
}
ENCODER_POSITIONS = ("sinusoidal", "learned", "relative", "rotary", "none")
DECODER_POSITIONS = (*ENCODER_POSITIONS, "alibi")
_IN_TABLES = ("sinusoidal", "learned", "none")

State: TypeAlias = Mapping[str, Tensor]
# The library has no type hints.
Spec: TypeAlias = Any
"""A specification of CTranslate2: of a model, a part of it, or the modules that define them."""


@cache
def library() -> ModuleType:
    """Return the library; raise UsageError with the command that installs it if it is missing."""
    try:
        return importlib.import_module("ctranslate2")
    except ImportError as error:
        raise UsageError(
            f"CTranslate2 cannot be imported ({error}); install it with: pip install ctranslate2"
        ) from None


def demands(config: ModelConfig) -> Iterator[tuple[str, object, Sequence[object]]]:
    """Yield fields of the recipe with their values and those that CTranslate2 supports, most important first."""
    encoder, decoder = config.encoder, config.decoder
    yield "model.encoder.kind", encoder.kind, ("transformer",)
    yield "model.decoder.kind", decoder.kind, ("transformer",)
    yield "model.head.kind", config.head.kind, ("softmax",)
    if isinstance(encoder, TransformerEncoderConfig) and isinstance(decoder, TransformerDecoderConfig):
        yield "model.decoder.mixer.kind", decoder.mixer.kind, ("attention",)
        # In an encoder there are positions on both sides, and its ALiBi supports one side.
        yield "model.encoder.positions.kind", encoder.positions.kind, ENCODER_POSITIONS
        yield "model.decoder.positions.kind", decoder.positions.kind, DECODER_POSITIONS
        # It has one option for both sides.
        yield "model.decoder.norm_epsilon", decoder.norm_epsilon, (encoder.norm_epsilon,)


def can_take(config: ModelConfig) -> str | None:
    """Return why CTranslate2 does not support a model, or None if it does."""
    for field, value, known in demands(config):
        if value not in known:
            return f"{field} is {value}, {LIBRARY} has {' or '.join(map(str, known))}"
    return None


def max_source(config: ModelConfig) -> int | None:
    """Return the longest source for which there are positions, if there is a limit."""
    positions = getattr(config.encoder, "positions", None)
    return positions.limit if isinstance(positions, LearnedConfig) else None


def numbered(size: int) -> list[str]:
    """Return names of `size` tokens, made of their ids."""
    return [*SPECIALS, *map(str, range(len(SPECIALS), size))]


def write_model(folder: Path, config: ModelConfig, state: State, names: tuple[Sequence[str], Sequence[str]]) -> None:
    """Write the folder that CTranslate2 reads: model.bin, config.json and the vocabularies, in fp32.

    `state` is the model's state dict; `names` are the different names of the source and target tokens, by id. Raises
    UsageError if the library is not installed.
    """
    specs = library().specs
    encoder, decoder = config.encoder, config.decoder
    assert isinstance(encoder, TransformerEncoderConfig), encoder.kind
    assert isinstance(decoder, TransformerDecoderConfig), decoder.kind
    spec = specs.TransformerSpec(_encoder(specs, encoder, state), _decoder(specs, decoder, state))
    spec.config.layer_norm_epsilon = encoder.norm_epsilon
    spec.register_source_vocabulary(list(names[0]))
    spec.register_target_vocabulary(list(names[1]))
    spec.validate()
    # A table that two parts share is written once.
    spec.optimize()
    spec.save(str(folder))


def _encoder(specs: Spec, config: TransformerEncoderConfig, state: State) -> Spec:
    spec = specs.TransformerEncoderSpec(config.layers, config.heads, **_common(specs, config))
    _fill_side(spec, spec.embeddings[0], config, state, "encoder")
    for index, layer in enumerate(spec.layer):
        name = f"encoder.layers.{index}"
        layer.self_attention = _self_attention(specs, config, state, f"{name}.attention", "encoder")
        _fill_norm(layer.self_attention.layer_norm, state, f"{name}.attention_norm")
        _fill_feed_forward(layer.ffn, state, name)
    return spec


def _decoder(specs: Spec, config: TransformerDecoderConfig, state: State) -> Spec:
    options = _common(specs, config) | {"alibi": config.positions.kind == "alibi"}
    if isinstance(config.positions, RotaryConfig):
        options["rotary_dim"] = _head_width(config)
    spec = specs.TransformerDecoderSpec(config.layers, config.heads, **options)
    _fill_side(spec, spec.embeddings, config, state, "decoder")
    _fill_linear(spec.projection, state["head.projection.weight"], state["head.projection.bias"])
    for index, layer in enumerate(spec.layer):
        name = f"decoder.layers.{index}"
        layer.self_attention = _self_attention(specs, config, state, f"{name}.self_attention", "decoder")
        _fill_norm(layer.self_attention.layer_norm, state, f"{name}.self_norm")
        layer.attention = _memory_attention(specs, config, state, f"{name}.memory_attention")
        _fill_norm(layer.attention.layer_norm, state, f"{name}.memory_norm")
        _fill_feed_forward(layer.ffn, state, name)
    return spec


def _common(specs: Spec, config: TransformerConfig) -> dict[str, Spec]:
    """Return the options that the encoder and the decoder share."""
    return {
        "pre_norm": config.norm_position == "pre",
        "activation": getattr(specs.Activation, FUNCTIONS[config.activation]),
        "ffn_glu": ACTIVATIONS[config.activation][1],
        "rms_norm": config.norm == "rms",
        "layernorm_embedding": config.norm_embeddings,
        "relative_attention_bias": config.positions.kind == "relative",
    }


def _fill_side(spec: Spec, embeddings: Spec, config: TransformerConfig, state: State, side: str) -> None:
    """Fill the parts that both sides have in addition to their layers."""
    # A table that both sides share has one name among the parameters, and two in a state dict.
    embeddings.weight = _array(state[f"{side}.embedding.weight"])
    spec.scale_embeddings = config.scale_embeddings
    if config.norm_position == "pre":
        _fill_norm(spec.layer_norm, state, f"{side}.norm")
    if config.norm_embeddings:
        _fill_norm(spec.layernorm_embedding, state, f"{side}.embedding_norm")
    if config.positions.kind in _IN_TABLES:
        spec.position_encodings.encodings = _array(_table(config, state, side))


def _table(config: TransformerConfig, state: State, side: str) -> Tensor:
    """Return the vectors [P, D] that are added at each position."""
    positions, places = config.positions, torch.arange(PLACES)
    if isinstance(positions, SinusoidalConfig):
        return sinusoids(places + positions.first, config.width, positions.closed)
    if isinstance(positions, LearnedConfig):
        # A hypothesis that continues beyond the limit stays at the last position.
        return state[f"{side}.positions.weight"][places.clamp(max=positions.limit - 1)]
    return torch.zeros(PLACES, config.width)


def _self_attention(specs: Spec, config: TransformerConfig, state: State, name: str, side: str) -> Spec:
    """Return a self-attention: queries, keys and values by one product."""
    positions, width = config.positions, _head_width(config)
    options: dict[str, Spec] = {"relative_attention_bias": positions.kind == "relative", "head_dim": width}
    if isinstance(positions, RotaryConfig):
        options |= {"rotary_dim": width, "rotary_interleave": False, "rotary_base": positions.base}
    if config.key_value_heads not in (0, config.heads):
        options["num_heads_kv"] = config.key_value_heads
    kind = specs.attention_spec.MultiHeadAttentionSpec
    spec = kind(self_attention=True, rms_norm=config.norm == "rms", **options)
    parts = [f"{name}.query", f"{name}.key_value"]
    biases = [state[f"{part}.bias"] for part in parts] if config.bias else []
    weight = torch.cat([state[f"{part}.weight"] for part in parts])
    _fill_linear(spec.linear[0], weight, torch.cat(biases) if biases else None)
    _fill_named(spec.linear[1], state, f"{name}.output")
    if isinstance(positions, RelativeConfig):
        spec.relative_attention_bias = _array(state[f"{side}.positions.weight"])
        spec.relative_attention_max_distance = _array(torch.tensor(positions.distance, dtype=torch.int32))
    return spec


def _memory_attention(specs: Spec, config: TransformerConfig, state: State, name: str) -> Spec:
    """Return an attention to the memory, in which each head has its own keys and values, equal within a group."""
    kind = specs.attention_spec.MultiHeadAttentionSpec
    spec = kind(rms_norm=config.norm == "rms", head_dim=_head_width(config))
    groups = config.key_value_heads or config.heads

    def spread(rows: Tensor) -> Tensor:
        # [2 G d, ..] -> [2, G, d, ..] -> [2, H, d, ..] -> [2 H d, ..]
        heads: Tensor = rows.unflatten(0, (2, groups, -1)).repeat_interleave(config.heads // groups, dim=1)
        return heads.flatten(0, 2)

    bias = spread(state[f"{name}.key_value.bias"]) if config.bias else None
    _fill_named(spec.linear[0], state, f"{name}.query")
    _fill_linear(spec.linear[1], spread(state[f"{name}.key_value.weight"]), bias)
    _fill_named(spec.linear[2], state, f"{name}.output")
    return spec


def _fill_feed_forward(spec: Spec, state: State, name: str) -> None:
    _fill_norm(spec.layer_norm, state, f"{name}.feed_forward_norm")
    _fill_named(spec.linear_0, state, f"{name}.feed_forward.inner")
    _fill_named(spec.linear_1, state, f"{name}.feed_forward.outer")
    if f"{name}.feed_forward.gate.weight" in state:
        _fill_named(spec.linear_0_noact, state, f"{name}.feed_forward.gate")


def _fill_norm(spec: Spec, state: State, name: str) -> None:
    """Fill a norm; a LayerNorm without a bias gets a bias of zeros, since it would be an RMSNorm without one."""
    weight = state[f"{name}.weight"]
    spec.gamma = _array(weight)
    if hasattr(spec, "beta"):
        spec.beta = _array(state.get(f"{name}.bias", torch.zeros_like(weight)))


def _fill_named(spec: Spec, state: State, name: str) -> None:
    _fill_linear(spec, state[f"{name}.weight"], state.get(f"{name}.bias"))


def _fill_linear(spec: Spec, weight: Tensor, bias: Tensor | None) -> None:
    spec.weight = _array(weight)
    if bias is not None:
        spec.bias = _array(bias)


def _head_width(config: TransformerConfig) -> int:
    return config.head_width or config.width // config.heads


def _array(tensor: Tensor) -> NDArray[np.generic]:
    """Return a tensor as an array, of fp32 if its numbers are not integers."""
    values = tensor.detach().cpu()
    return (values.float() if values.is_floating_point() else values).contiguous().numpy()
