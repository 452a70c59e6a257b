"""The Transformer's options: grouped heads, coverage loss, layer drop, norms, scale and biases."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from calque.batch import Source
from calque.data.collate import collate_pairs
from calque.model import ModelConfig, build
from calque.nn.attention.multihead import FIRST_CAPACITY, Heads, MultiHeadAttention, SelfAttention, hide_padding
from calque.nn.embedding import Embedding
from calque.nn.norms import build_norm
from calque.nn.parts import Memory, MemoryShape
from calque.nn.transformer.encoder_decoder import (
    TransformerDecoder,
    TransformerDecoderConfig,
    TransformerEncoder,
    TransformerEncoderConfig,
)
from calque.nn.transformer.layers import kept_layers
from calque.text.source import plain_sources

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
VOCAB_SIZE, WIDTH = 13, 12
SMALL = {"kind": "transformer", "layers": 2, "width": WIDTH, "heads": 3, "feed_forward": 20, "dropout": 0.0}


def encoder(**fields: Any) -> TransformerEncoder:
    torch.manual_seed(0)
    config = TransformerEncoderConfig.model_validate(SMALL | fields)
    return TransformerEncoder(config, Embedding(VOCAB_SIZE, config.width))


def decoder(**fields: Any) -> TransformerDecoder:
    torch.manual_seed(0)
    config = TransformerDecoderConfig.model_validate(SMALL | fields)
    return TransformerDecoder(config, Embedding(VOCAB_SIZE, config.width), MemoryShape(WIDTH, WIDTH, 1, False))


def memory(num_rows: int = 2) -> Memory:
    mask = torch.tensor([[True] * 5, [True, True, False, False, False]])[:num_rows]
    return Memory(torch.randn(num_rows, 5, WIDTH), mask, ())


@pytest.mark.parametrize(("heads", "groups"), [(6, 2), (6, 3), (6, 1), (4, 4)])
@torch.no_grad()
def test_grouped_heads_by_the_formula(heads: int, groups: int) -> None:
    """Ainslie et al. 2023: head h attends with keys and values of group h // (H / G)."""
    torch.manual_seed(1)
    attention = MultiHeadAttention(WIDTH, Heads(heads, groups), 7, 0.0)
    for parameter in attention.parameters():
        parameter.copy_(torch.randn_like(parameter))
    queries, states = torch.randn(2, 3, WIDTH), torch.randn(2, 4, 7)
    bias = hide_padding(torch.tensor([[True] * 4, [True, True, True, False]]), queries)
    mixed, weights = attention(attention.project_query(queries), *attention.project_memory(states), bias)
    size = WIDTH // heads
    keys, values = (states @ attention.key_value.weight.T + attention.key_value.bias).split(groups * size, dim=-1)
    query = queries @ attention.query.weight.T + attention.query.bias
    per_head = []
    for head in range(heads):
        group = slice(head // (heads // groups) * size, (head // (heads // groups) + 1) * size)
        own = slice(head * size, (head + 1) * size)
        scores = query[:, :, own] @ keys[:, :, group].transpose(1, 2) / math.sqrt(size) + bias[:, 0]
        torch.testing.assert_close(weights[:, head], scores.softmax(-1), **CLOSE)
        per_head.append(scores.softmax(-1) @ values[:, :, group])
    torch.testing.assert_close(mixed, attention.output(torch.cat(per_head, dim=-1)), **CLOSE)


def test_grouped_heads_cache_one_set_a_group() -> None:
    attention = SelfAttention(WIDTH, Heads(6, 2), WIDTH, 0.0)
    cache = attention.start(torch.zeros(5, 1))
    assert cache.keys.shape == cache.values.shape == (5, 2, FIRST_CAPACITY, WIDTH // 6)
    assert sum(parameter.numel() for parameter in attention.parameters()) < sum(
        parameter.numel() for parameter in SelfAttention(WIDTH, 6, WIDTH, 0.0).parameters()
    )


@torch.no_grad()
def test_the_coverage_loss_by_its_formula() -> None:
    """Weight times Σ_s min(a_ts, Σ_{t' < t} a_t's), a the mean of the last layer's heads; steps give the same."""
    part, tokens, read = decoder(coverage_loss=0.7).eval(), torch.randint(4, VOCAB_SIZE, (2, 4)), memory()
    output = part(tokens, read)
    weights = output.attention.tolist()
    for row in range(2):
        for time in range(4):
            before = [sum(weights[row][earlier][place] for earlier in range(time)) for place in range(5)]
            expected = 0.7 * sum(map(min, weights[row][time], before))
            assert output.penalty[row, time].item() == pytest.approx(expected, abs=1e-5)
    assert output.penalty[:, 0].eq(0).all()
    context, state = part.start(read)
    for time, token in enumerate(tokens.unbind(1)):
        step, state = part.step(token, state, context)
        torch.testing.assert_close(step.penalty, output.penalty[:, time], **CLOSE)
    assert decoder().eval()(tokens, read).penalty is None


def test_the_coverage_loss_counts_in_training_alone() -> None:
    config = {"encoder": SMALL, "decoder": SMALL | {"coverage_loss": 0.5}}
    torch.manual_seed(0)
    model = build(ModelConfig.model_validate(config), VOCAB_SIZE, VOCAB_SIZE)
    batch = collate_pairs(plain_sources([[4, 5, 6], [7]]), [[8, 9, 10], [10, 4]])
    plain = model.eval().losses(batch)
    penalty = model.decoder(batch.target.inputs, model.encoder(batch.source)).penalty
    assert penalty.gt(0).any()
    torch.testing.assert_close(model.train().losses(batch), plain + penalty * batch.target.mask, **CLOSE)


def test_dropped_layers_are_left_out_and_the_last_stays() -> None:
    torch.manual_seed(0)
    draws = [kept_layers(4, 0.25, training=True) for _ in range(2000)]
    assert all(kept == sorted(set(kept)) and kept[-1] == 3 for kept in draws)
    for layer in range(3):
        share = sum(layer not in kept for kept in draws) / len(draws)
        assert abs(share - 0.25) < 5 * math.sqrt(0.25 * 0.75 / len(draws))
    # The three fall independently of each other.
    together = sum(kept == [3] for kept in draws) / len(draws)
    assert abs(together - 0.25**3) < 5 * math.sqrt(0.25**3 / len(draws))


def test_nothing_is_drawn_where_no_layer_falls() -> None:
    before = torch.get_rng_state()
    assert kept_layers(3, 0.9, training=False) == kept_layers(3, 0.0, training=True) == [0, 1, 2]
    assert torch.equal(torch.get_rng_state(), before)


def test_layer_drop_in_a_model() -> None:
    """A layer that falls gets no gradient in that update, but each does over several; evaluation uses all of them."""
    torch.manual_seed(0)
    part = SMALL | {"layer_drop": 0.5}
    model = build(ModelConfig.model_validate({"encoder": part, "decoder": part}), VOCAB_SIZE, VOCAB_SIZE)
    whole = build(ModelConfig.model_validate({"encoder": SMALL, "decoder": SMALL}), VOCAB_SIZE, VOCAB_SIZE)
    whole.load_state_dict(model.state_dict())
    batch = collate_pairs(plain_sources([[4, 5, 6], [7]]), [[8, 9, 10], [10, 4]])
    torch.testing.assert_close(model.eval().losses(batch), whole.eval().losses(batch), rtol=0, atol=0)
    reached: set[str] = set()
    left_out = 0
    for _ in range(12):
        state = torch.get_rng_state()
        model.zero_grad()
        losses = model.train().losses(batch)
        losses.sum().backward()
        touched = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
        left_out += not any(name.startswith("encoder.layers.0.") for name in touched)
        assert any(name.startswith("decoder.layers.1.") for name in touched)
        reached |= touched
        # The saved generator repeats the choice.
        torch.set_rng_state(state)
        assert torch.equal(model.losses(batch), losses)
    assert 0 < left_out < 12
    assert reached == {name for name, _ in model.named_parameters()}


@pytest.mark.parametrize("kind", ["layer", "rms"])
@torch.no_grad()
def test_norms_by_their_formulas(kind: str) -> None:
    norm = build_norm(kind, 6, 0.01, True)  # type: ignore[arg-type]
    for parameter in norm.parameters():
        parameter.copy_(torch.randn_like(parameter))
    values = torch.randn(4, 6)
    for row, vector in enumerate(values.tolist()):
        mean = sum(vector) / 6 if kind == "layer" else 0.0
        size = math.sqrt(sum((number - mean) ** 2 for number in vector) / 6 + 0.01)
        shifts = norm.bias.tolist() if kind == "layer" else [0.0] * 6
        expected = [
            (number - mean) / size * weight + shift
            for number, weight, shift in zip(vector, norm.weight.tolist(), shifts, strict=True)
        ]
        torch.testing.assert_close(norm(values)[row], torch.tensor(expected), **CLOSE)


def test_post_norm_ends_without_a_norm_of_its_own() -> None:
    for part in (encoder(norm_position="post"), decoder(norm_position="post")):
        assert isinstance(part.norm, nn.Identity)
    states = encoder(norm_position="post")(source()).states
    torch.testing.assert_close(states.mean(-1), torch.zeros(states.shape[:2]), **CLOSE)


def source() -> Source:
    return collate_pairs(plain_sources([[4, 5, 6], [7, 8, 9]]), [[4], [5]]).source


def test_what_has_no_bias_has_none_anywhere() -> None:
    for part in (encoder(bias=False), decoder(bias=False), decoder(bias=False, norm="rms", activation="swiglu")):
        assert [name for name, _ in part.named_parameters() if name.endswith("bias")] == []


def without_layers(**fields: Any) -> TransformerEncoder:
    """Return an encoder that gives what its first layer would read."""
    part = encoder(**fields).eval()
    part.layers, part.norm = nn.ModuleList(), nn.Identity()
    return part


@pytest.mark.parametrize(("scaled", "factor"), [(True, math.sqrt(WIDTH)), (False, 1.0)])
@torch.no_grad()
def test_the_scale_of_embeddings(scaled: bool, factor: float) -> None:
    part = without_layers(scale_embeddings=scaled, positions={"kind": "none"})
    expected = part.embedding.weight[source().tokens] * factor
    torch.testing.assert_close(part(source()).states, expected, **CLOSE)


@torch.no_grad()
def test_a_norm_of_the_embeddings_comes_after_the_positions() -> None:
    part = without_layers(norm_embeddings=True, positions={"kind": "learned", "limit": 9})
    tokens = source().tokens
    vectors = part.embedding.weight[tokens] * math.sqrt(WIDTH) + part.positions.weight[: tokens.shape[1]]
    expected = nn.functional.layer_norm(vectors, (WIDTH,), part.embedding_norm.weight, part.embedding_norm.bias)
    torch.testing.assert_close(part(source()).states, expected, **CLOSE)


@pytest.mark.parametrize("positions", ["relative", "rotary", "alibi"])
@torch.no_grad()
def test_only_self_attention_is_told_distances(positions: str) -> None:
    """The memory's order does not matter to the decoder: its positions are the target's."""
    part, read = decoder(positions={"kind": positions}).eval(), memory(1)
    tokens, order = torch.tensor([[4, 5, 6]]), torch.tensor([3, 1, 4, 0, 2])
    mixed = Memory(read.states[:, order], read.mask[:, order], ())
    torch.testing.assert_close(part(tokens, mixed).hidden, part(tokens, read).hidden, **CLOSE)
    assert not torch.allclose(part(tokens.flip(1), read).hidden[:, -1], part(tokens, read).hidden[:, -1], atol=1e-3)


@torch.no_grad()
def test_an_encoder_without_positions_reads_a_bag() -> None:
    tokens = torch.tensor([[4, 5, 6, 7]])
    order = torch.tensor([2, 0, 3, 1])

    def states(part: TransformerEncoder, given: Tensor) -> Tensor:
        return part.eval()(Source(given, torch.ones_like(given, dtype=torch.bool))).states

    for kind, is_bag in (("none", True), ("sinusoidal", False), ("relative", False), ("rotary", False)):
        part = encoder(positions={"kind": kind})
        same = torch.allclose(states(part, tokens[:, order]), states(part, tokens)[:, order], atol=1e-4)
        assert same == is_bag, kind


@pytest.mark.parametrize(
    "fields",
    [
        {"positions": {"kind": "relative"}, "norm": "rms", "activation": "geglu_tanh", "bias": False},
        {"positions": {"kind": "rotary"}, "norm_position": "post", "activation": "swiglu", "key_value_heads": 1},
        {"positions": {"kind": "alibi"}, "coverage_loss": 0.3, "norm_embeddings": True},
        {"positions": {"kind": "learned"}, "mixer": {"kind": "ssru"}, "norm_position": "post"},
        {"mixer": {"kind": "average"}, "norm": "rms", "activation": "silu"},
    ],
    ids=lambda fields: "-".join(map(str, fields)),
)
def test_mixed_arithmetic_gives_nearly_the_same(fields: dict[str, Any]) -> None:
    fields = {"heads": 2, **fields}
    both = {key: value for key, value in fields.items() if key not in ("mixer", "coverage_loss")}
    torch.manual_seed(0)
    config = ModelConfig.model_validate({"encoder": SMALL | both, "decoder": SMALL | fields})
    model = build(config, VOCAB_SIZE, VOCAB_SIZE).train()
    batch = collate_pairs(plain_sources([[4, 5, 6], [7]]), [[8, 9, 10], [10, 4]])
    exact = model.losses(batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = model.losses(batch)
        context, state = model.eval().start(batch.source)
        log_probs, _ = model.step(batch.target.inputs[:, 0], state, context)
    losses.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    assert log_probs.isfinite().all()
    torch.testing.assert_close(losses, exact, rtol=0.05, atol=0.05)
