"""Parity of the Transformer's variants with torch's own layers: norms, activations, positions, grouped heads."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from calque.batch import Source
from calque.data.collate import collate_sources
from calque.nn.attention.multihead import Heads, MultiHeadAttention, SelfAttention, hide_padding
from calque.nn.embedding import Embedding, sinusoids
from calque.nn.norms import build_norm
from calque.nn.parts import Memory, MemoryShape
from calque.nn.transformer.encoder_decoder import (
    TransformerDecoder,
    TransformerDecoderConfig,
    TransformerEncoder,
    TransformerEncoderConfig,
)
from calque.nn.transformer.positions import AlibiConfig, PartShape, RelativeConfig
from calque.text.source import plain_sources

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
VOCAB_SIZE, WIDTH, HEADS, UNITS = 17, 12, 3, 20
SHAPE = {"layers": 2, "width": WIDTH, "heads": HEADS, "feed_forward": UNITS}
SENTENCES = [[5, 6, 7, 8, 9, 10], [4], [11, 12, 13]]

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "gelu": nn.functional.gelu,
    "gelu_tanh": nn.GELU(approximate="tanh"),
    "silu": nn.functional.silu,
}
EACH = pytest.mark.parametrize(
    ("norm_position", "activation", "bias"),
    [
        ("pre", "gelu", True),
        ("post", "gelu", True),
        ("post", "silu", True),
        ("post", "relu", False),
        ("pre", "gelu_tanh", False),
    ],
)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(7)


def redraw(module: nn.Module) -> None:
    """Give every parameter, norms and biases too, a value of its own."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)


def library_layers(kind: type[nn.Module], norm_position: str, activation: str, bias: bool) -> list[nn.Module]:
    """Return two of torch's layers."""
    return [
        kind(
            WIDTH,
            HEADS,
            UNITS,
            activation=ACTIVATIONS[activation],
            norm_first=norm_position == "pre",
            batch_first=True,
            bias=bias,
            layer_norm_eps=1e-3,
        ).eval()
        for _ in range(2)
    ]


def copy_attention(ours: MultiHeadAttention, theirs: nn.MultiheadAttention) -> None:
    """Give a library's attention our weights, packed as it wants them."""
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key_value.weight]))
        if theirs.in_proj_bias is not None:
            theirs.in_proj_bias.copy_(torch.cat([ours.query.bias, ours.key_value.bias]))
        theirs.out_proj.load_state_dict(ours.output.state_dict())


def copy_layer(ours: nn.Module, theirs: nn.Module, attentions: dict[str, str], norms: list[str]) -> None:
    """Give a library's layer our weights; `attentions` and `norms` in its order."""
    for name, other in attentions.items():
        copy_attention(getattr(ours, name), getattr(theirs, other))
    theirs.linear1.load_state_dict(ours.feed_forward.inner.state_dict())
    theirs.linear2.load_state_dict(ours.feed_forward.outer.state_dict())
    for index, name in enumerate(norms, start=1):
        getattr(theirs, f"norm{index}").load_state_dict(getattr(ours, name).state_dict())


def read_by_library(layers: list[nn.Module], embedded: Tensor, mask: Tensor) -> Tensor:
    """Run torch's encoder layers."""
    for layer in layers:
        embedded = layer(embedded, src_key_padding_mask=~mask)
    return embedded


def library_encoder(ours: TransformerEncoder, norm_position: str, activation: str, bias: bool) -> list[nn.Module]:
    """Return torch's layers with the weights of an encoder."""
    layers = library_layers(nn.TransformerEncoderLayer, norm_position, activation, bias)
    for mine, theirs in zip(ours.layers, layers, strict=True):
        copy_layer(mine, theirs, {"attention": "self_attn"}, ["attention_norm", "feed_forward_norm"])
    return layers


@EACH
@torch.no_grad()
def test_encoder_layers(norm_position: str, activation: str, bias: bool) -> None:
    fields: dict[str, Any] = {"norm_position": norm_position, "activation": activation, "bias": bias}
    config = TransformerEncoderConfig.model_validate({**SHAPE, **fields, "norm_epsilon": 1e-3})
    ours = TransformerEncoder(config, Embedding(VOCAB_SIZE, WIDTH)).eval()
    redraw(ours)
    source: Source = collate_sources(plain_sources(SENTENCES))
    layers = library_encoder(ours, norm_position, activation, bias)
    embedded = ours.embedding(source.tokens) + sinusoids(torch.arange(source.tokens.shape[1]), WIDTH)
    expected = read_by_library(layers, embedded, source.mask)
    if norm_position == "pre":
        expected = nn.functional.layer_norm(expected, (WIDTH,), ours.norm.weight, ours.norm.bias, 1e-3)
    torch.testing.assert_close(ours(source).states[source.mask], expected[source.mask], **CLOSE)


@EACH
@torch.no_grad()
def test_decoder_layers(norm_position: str, activation: str, bias: bool) -> None:
    fields: dict[str, Any] = {"norm_position": norm_position, "activation": activation, "bias": bias}
    config = TransformerDecoderConfig.model_validate({**SHAPE, **fields, "norm_epsilon": 1e-3})
    ours = TransformerDecoder(config, Embedding(VOCAB_SIZE, WIDTH), MemoryShape(WIDTH, WIDTH, 1, False)).eval()
    redraw(ours)
    tokens, mask = torch.randint(4, VOCAB_SIZE, (2, 6)), torch.tensor([[True] * 5, [True, True, True, False, False]])
    memory = Memory(torch.randn(2, 5, WIDTH), mask, ())
    expected = ours.embedding(tokens) + sinusoids(torch.arange(6), WIDTH)
    layers = library_layers(nn.TransformerDecoderLayer, norm_position, activation, bias)
    for mine, theirs in zip(ours.layers, layers, strict=True):
        names = {"self_attention": "self_attn", "memory_attention": "multihead_attn"}
        copy_layer(mine, theirs, names, ["self_norm", "memory_norm", "feed_forward_norm"])
        hidden = torch.ones(6, 6).triu(1).bool()
        expected = theirs(expected, memory.states, tgt_mask=hidden, memory_key_padding_mask=~mask)
    if norm_position == "pre":
        expected = nn.functional.layer_norm(expected, (WIDTH,), ours.norm.weight, ours.norm.bias, 1e-3)
    torch.testing.assert_close(ours(tokens, memory).hidden, expected, **CLOSE)


@torch.no_grad()
def test_an_encoder_built_as_barts() -> None:
    """Learned positions, plain embeddings, a norm over their sum, post-norm layers with GELU, no norm at the end."""
    fields = {
        "norm_position": "post",
        "activation": "gelu",
        "norm_embeddings": True,
        "scale_embeddings": False,
        "norm_epsilon": 1e-3,
        "positions": {"kind": "learned", "limit": 10},
    }
    ours = TransformerEncoder(TransformerEncoderConfig.model_validate(SHAPE | fields), Embedding(VOCAB_SIZE, WIDTH))
    redraw(ours.eval())
    tokens, positions, norm = nn.Embedding(VOCAB_SIZE, WIDTH), nn.Embedding(12, WIDTH), nn.LayerNorm(WIDTH, eps=1e-3)
    tokens.weight.copy_(ours.embedding.weight)
    # BART's table has two rows before that of the first position.
    positions.weight[2:].copy_(ours.positions.weight)
    norm.load_state_dict(ours.embedding_norm.state_dict())
    source: Source = collate_sources(plain_sources(SENTENCES))
    embedded = norm(tokens(source.tokens) + positions(torch.arange(source.tokens.shape[1]) + 2))
    expected = read_by_library(library_encoder(ours, "post", "gelu", True), embedded, source.mask)
    torch.testing.assert_close(ours(source).states[source.mask], expected[source.mask], **CLOSE)


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
@torch.no_grad()
def test_grouped_heads_with_the_librarys_own(groups: int) -> None:
    ours = MultiHeadAttention(WIDTH, Heads(6, groups, 4), WIDTH, 0.0)
    redraw(ours)
    values, memory = torch.randn(2, 4, WIDTH), torch.randn(2, 5, WIDTH)
    mask = torch.tensor([[True] * 5, [True, True, True, False, False]])
    mixed, weights = ours(ours.project_query(values), *ours.project_memory(memory), hide_padding(mask, values))
    query = ours.query(values).unflatten(-1, (6, 4)).transpose(1, 2)
    keys, own = (part.unflatten(-1, (groups, 4)).transpose(1, 2) for part in ours.key_value(memory).chunk(2, dim=-1))
    expected = nn.functional.scaled_dot_product_attention(
        query, keys, own, attn_mask=mask[:, None, None], enable_gqa=True
    )
    torch.testing.assert_close(mixed, ours.output(expected.transpose(1, 2).flatten(2)), **CLOSE)
    assert weights.shape == (2, 6, 4, 5)


@pytest.mark.parametrize("config", [RelativeConfig(buckets=8, distance=9), AlibiConfig()], ids=lambda c: c.kind)
@torch.no_grad()
def test_biased_scores_with_the_librarys_float_mask(config: RelativeConfig | AlibiConfig) -> None:
    ours, theirs = SelfAttention(WIDTH, HEADS, WIDTH, 0.0), nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
    redraw(ours)
    copy_attention(ours, theirs)
    values, place = torch.randn(2, 7, WIDTH), torch.arange(7)
    positions = config.build(PartShape("model.encoder", WIDTH, HEADS, WIDTH // HEADS, 1.0, True))
    bias = positions.biased(torch.zeros(1, 7, 7), place, place)
    expected, _ = theirs(values, values, values, attn_mask=bias.repeat(2, 1, 1))
    torch.testing.assert_close(ours.attend(values, bias), expected, **CLOSE)
    plain, _ = theirs(values, values, values)
    assert not torch.allclose(plain, expected, atol=1e-3)


@torch.no_grad()
def test_rms_norm() -> None:
    ours, theirs = build_norm("rms", WIDTH, 1e-3, True), nn.RMSNorm(WIDTH, eps=1e-3)
    redraw(ours)
    theirs.load_state_dict(ours.state_dict())
    values = torch.randn(5, WIDTH)
    torch.testing.assert_close(ours(values), theirs(values), **CLOSE)
    assert [name for name, _ in ours.named_parameters()] == ["weight"]


@torch.no_grad()
def test_attention_as_t5_has_it_lies_in_the_weights() -> None:
    """T5 does not scale scores by 1/√d: queries √d times as large give the same."""
    ours = SelfAttention(WIDTH, Heads(HEADS, bias=False), WIDTH, 0.0)
    redraw(ours)
    values = torch.randn(2, 5, WIDTH)
    query, keys, own = (
        part.unflatten(-1, (HEADS, -1)).transpose(1, 2)
        for part in (ours.query(values), *ours.key_value(values).chunk(2, dim=-1))
    )
    unscaled = ours.output(((query @ keys.transpose(2, 3)).softmax(-1) @ own).transpose(1, 2).flatten(2))
    ours.query.weight.mul_((WIDTH // HEADS) ** 0.5)
    torch.testing.assert_close(ours.attend(values, None), unscaled, **CLOSE)
