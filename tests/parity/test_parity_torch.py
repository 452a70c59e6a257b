"""Parity of the Transformer parts, the objectives and the optimizers with torch's own; positions with the formula."""

import math

import pytest
import torch
from torch import Tensor, nn

from calque.batch import Source
from calque.data.collate import collate_sources
from calque.nn.attention.multihead import MultiHeadAttention, hide_future, hide_padding
from calque.nn.embedding import Embedding, sinusoids
from calque.nn.heads.likelihood import smoothed_likelihood
from calque.nn.parts import Memory, MemoryShape
from calque.nn.transformer.encoder_decoder import (
    TransformerDecoder,
    TransformerDecoderConfig,
    TransformerEncoder,
    TransformerEncoderConfig,
)
from calque.text.source import plain_sources
from calque.training.optimizers.adam import AdamConfig, AdamWConfig

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
VOCAB_SIZE, WIDTH, HEADS = 17, 12, 3
SENTENCES = [[5, 6, 7, 8, 9, 10], [4], [11, 12, 13]]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(7)


def copy_attention(ours: MultiHeadAttention, theirs: nn.MultiheadAttention) -> None:
    """Map query, key_value and output to the library's packed weights."""
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
        width = ours.query.weight.shape[0]
        key, value = ours.key_value.weight.split(width)
        if theirs.in_proj_weight is not None:
            theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, key, value]))
        else:
            theirs.q_proj_weight.copy_(ours.query.weight)
            theirs.k_proj_weight.copy_(key)
            theirs.v_proj_weight.copy_(value)
        theirs.in_proj_bias.copy_(torch.cat([ours.query.bias, ours.key_value.bias]))
        theirs.out_proj.load_state_dict(ours.output.state_dict())


@pytest.mark.parametrize("memory_width", [WIDTH, 8])
@torch.no_grad()
def test_multi_head_attention(memory_width: int) -> None:
    ours = MultiHeadAttention(WIDTH, HEADS, memory_width, 0.0)
    theirs = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True, kdim=memory_width, vdim=memory_width)
    copy_attention(ours, theirs)
    query, memory = torch.randn(2, 4, WIDTH), torch.randn(2, 5, memory_width)
    mask = torch.tensor([[True] * 5, [True, True, True, False, False]])
    mixed, weights = ours(ours.project_query(query), *ours.project_memory(memory), hide_padding(mask, query))
    expected, expected_weights = theirs(query, memory, memory, key_padding_mask=~mask, average_attn_weights=False)
    torch.testing.assert_close(mixed, expected, **CLOSE)
    torch.testing.assert_close(weights, expected_weights, **CLOSE)


@torch.no_grad()
def test_causal_attention() -> None:
    ours, theirs = MultiHeadAttention(WIDTH, HEADS, WIDTH, 0.0), nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
    copy_attention(ours, theirs)
    values, place = torch.randn(2, 6, WIDTH), torch.arange(6)
    bias = hide_future(place[:, None], place, values)
    mixed, _ = ours(ours.project_query(values), *ours.project_memory(values), bias)
    expected, _ = theirs(values, values, values, attn_mask=torch.ones(6, 6).triu(1).bool())
    torch.testing.assert_close(mixed, expected, **CLOSE)


def copy_layer(ours: nn.Module, theirs: nn.Module, norms: list[str]) -> None:
    """Give a library layer the feed-forward and the norms (redrawn) of one of calque's."""
    theirs.linear1.load_state_dict(ours.feed_forward.inner.state_dict())
    theirs.linear2.load_state_dict(ours.feed_forward.outer.state_dict())
    for index, name in enumerate(norms, start=1):
        norm = getattr(ours, name)
        with torch.no_grad():
            norm.weight.uniform_(0.5, 1.5)
            norm.bias.uniform_(-0.5, 0.5)
        getattr(theirs, f"norm{index}").load_state_dict(norm.state_dict())


def with_positions(embedding: Embedding, tokens: Tensor) -> Tensor:
    """Return what both stacks read."""
    return embedding.weight[tokens] * math.sqrt(WIDTH) + sinusoids(torch.arange(tokens.shape[1]), WIDTH)


SHAPE = {"layers": 2, "width": WIDTH, "heads": HEADS, "feed_forward": 20}
LIBRARY_SHAPE = {"d_model": WIDTH, "nhead": HEADS, "dim_feedforward": 20, "norm_first": True, "batch_first": True}


def test_transformer_encoder() -> None:
    encoder = TransformerEncoder(TransformerEncoderConfig(**SHAPE), Embedding(VOCAB_SIZE, WIDTH)).eval()
    layer = nn.TransformerEncoderLayer(**LIBRARY_SHAPE)
    library = nn.TransformerEncoder(layer, 2, nn.LayerNorm(WIDTH), enable_nested_tensor=False).eval()
    for ours, theirs in zip(encoder.layers, library.layers, strict=True):
        copy_attention(ours.attention, theirs.self_attn)
        copy_layer(ours, theirs, ["attention_norm", "feed_forward_norm"])
    source: Source = collate_sources(plain_sources(SENTENCES))
    memory = encoder(source)
    expected = library(with_positions(encoder.embedding, source.tokens), src_key_padding_mask=~source.mask)
    torch.testing.assert_close(memory.states[source.mask], expected[source.mask], **CLOSE)
    means = [expected[row, : len(sentence) + 1].mean(dim=0) for row, sentence in enumerate(SENTENCES)]
    torch.testing.assert_close(memory.summary[0][:, 0], torch.stack(means), **CLOSE)


def test_transformer_decoder() -> None:
    shape = MemoryShape(WIDTH, WIDTH, 1, False)
    decoder = TransformerDecoder(TransformerDecoderConfig(**SHAPE), Embedding(VOCAB_SIZE, WIDTH), shape).eval()
    library = nn.TransformerDecoder(nn.TransformerDecoderLayer(**LIBRARY_SHAPE), 2, nn.LayerNorm(WIDTH)).eval()
    for ours, theirs in zip(decoder.layers, library.layers, strict=True):
        copy_attention(ours.self_attention, theirs.self_attn)
        copy_attention(ours.memory_attention, theirs.multihead_attn)
        copy_layer(ours, theirs, ["self_norm", "memory_norm", "feed_forward_norm"])
    tokens = torch.randint(4, VOCAB_SIZE, (2, 6))
    mask = torch.tensor([[True] * 5, [True, True, True, False, False]])
    memory = Memory(torch.randn(2, 5, WIDTH), mask, ())
    expected = library(
        with_positions(decoder.embedding, tokens),
        memory.states,
        tgt_mask=torch.ones(6, 6).triu(1).bool(),
        memory_key_padding_mask=~mask,
    )
    torch.testing.assert_close(decoder(tokens, memory).hidden, expected, **CLOSE)


@pytest.mark.parametrize("width", [2, 6, 128])
def test_sinusoids_by_the_formula(width: int) -> None:
    """Vaswani et al. 2017, section 3.5, with all sines before all cosines."""
    positions = [0, 1, 2, 31, 500]
    expected = [
        [
            function(position / 10000 ** (2 * pair / width))
            for function in (math.sin, math.cos)
            for pair in range(width // 2)
        ]
        for position in positions
    ]
    torch.testing.assert_close(sinusoids(torch.tensor(positions), width), torch.tensor(expected), rtol=1e-5, atol=5e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_smoothed_likelihood(smoothing: float) -> None:
    labels, weights = torch.randint(VOCAB_SIZE, (6,)), torch.rand(6)
    ours, theirs = (torch.randn(6, VOCAB_SIZE, generator=torch.Generator().manual_seed(1)) for _ in range(2))
    ours.requires_grad_()
    theirs.requires_grad_()
    losses = smoothed_likelihood(ours.log_softmax(dim=-1), labels, smoothing, ours.shape[1])
    expected = nn.functional.cross_entropy(theirs, labels, label_smoothing=smoothing, reduction="none")
    torch.testing.assert_close(losses, expected, **CLOSE)
    (losses * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, **CLOSE)


def test_gradients_of_the_objectives() -> None:
    log_probs = torch.randn(4, 7, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 6, 3, 3])
    for smoothing in (0.0, 0.2):
        for size in (log_probs.shape[1], log_probs.shape[1] - 2):
            assert torch.autograd.gradcheck(
                lambda values, share=smoothing, size=size: smoothed_likelihood(values, labels, share, size),
                (log_probs,),
            )


@pytest.mark.parametrize("config", [AdamConfig(), AdamWConfig(weight_decay=0.3)], ids=lambda config: config.kind)
def test_optimizer_steps_as_the_librarys(config: AdamConfig) -> None:
    """Matrices and vectors as two plain optimizers of the library would move them, decay on matrices alone."""
    first = {"matrix": torch.randn(4, 3), "vector": torch.randn(5)}
    gradients = [{name: torch.randn_like(value) for name, value in first.items()} for _ in range(3)]
    ours = {name: nn.Parameter(value.clone()) for name, value in first.items()}
    optimizer = config.build(ours.values(), 0.01)
    for name, value in first.items():
        decay = getattr(config, "weight_decay", 0.0) if name == "matrix" else 0.0
        alone = nn.Parameter(value.clone())
        plain = torch.optim.AdamW([alone], lr=0.01, betas=(0.9, 0.98), eps=1e-8, weight_decay=decay, fused=False)
        for gradient in gradients:
            alone.grad = gradient[name].clone()
            plain.step()
        first[name] = alone.detach()
    for gradient in gradients:
        for name, parameter in ours.items():
            parameter.grad = gradient[name].clone()
        optimizer.step()
    for name, parameter in ours.items():
        torch.testing.assert_close(parameter.detach(), first[name], **CLOSE)
