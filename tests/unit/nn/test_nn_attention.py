"""The attentions of a recurrent decoder: each against its paper's formula in loops, with coverage and its loss."""

from typing import Any, get_args

import pytest
import torch
from attention_loops import attend, numbers
from torch import Tensor, nn

from calque.batch import Batch
from calque.data.collate import collate_pairs
from calque.errors import UsageError
from calque.model import ModelConfig, Seq2Seq, build
from calque.nn.attention.additive import AdditiveAttentionConfig
from calque.nn.attention.attention import Attention, AttentionContext, History, remember, repetition
from calque.nn.attention.dot import DotAttentionConfig, GeneralAttentionConfig, ScaledDotAttentionConfig
from calque.nn.attention.kinds import AttentionConfig
from calque.nn.attention.local import LocalAttention, LocalAttentionConfig
from calque.nn.attention.location import LocationAttentionConfig
from calque.nn.attention.multihead_memory import MultiHeadAttentionConfig, MultiHeadMemoryAttention
from calque.nn.parts import Memory
from calque.text.source import plain_sources

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
WIDTH, LENGTHS, NUM_STEPS = 12, (7, 1, 4), 4

# Each kind with the width of a memory that it takes.
KINDS = [
    (DotAttentionConfig(), WIDTH),
    (ScaledDotAttentionConfig(), WIDTH),
    (GeneralAttentionConfig(), 9),
    (AdditiveAttentionConfig(), WIDTH),
    (AdditiveAttentionConfig(width=5), 9),
    (MultiHeadAttentionConfig(heads=3), 9),
    (MultiHeadAttentionConfig(heads=2, width=8), 5),
    (LocalAttentionConfig(window=1), 9),
    (LocalAttentionConfig(window=3), WIDTH),
    (LocationAttentionConfig(filters=3, kernel=5), 9),
    (LocationAttentionConfig(width=5, filters=2, kernel=1, cumulative=True), WIDTH),
    (LocationAttentionConfig(filters=2, kernel=31), WIDTH),
]
OPTIONS = [
    {},
    {"normaliser": "sparsemax"},
    {"normaliser": "entmax"},
    {"coverage": True},
    {"coverage": True, "normaliser": "sparsemax"},
]
MEMBERS = [member for member in get_args(get_args(AttentionConfig)[0]) if member().kind != "none"]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(3)


def made(config: Any, memory_width: int, scale: float = 1.0) -> Attention:
    """Build an attention with weights wide enough that no score is like another."""
    attention = config.build(WIDTH, memory_width)
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.copy_(torch.randn_like(parameter) * scale)
    return attention


def memories(width: int, lengths: tuple[int, ...] = LENGTHS) -> Memory:
    """Return sentences of these lengths, the last position of each from a second source."""
    place, ends = torch.arange(max(lengths)), torch.tensor(lengths).unsqueeze(1)
    segment = (place == ends - 1).long()
    return Memory(torch.randn(*segment.shape, width), place < ends, (), segment)


def run(attention: Attention, memory: Memory, queries: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Attend from queries [B, T, D] one after the other; return what was mixed, the weights and what was repeated."""
    context = attention.start(memory)
    history, mixed, weights, again = attention.first(context), [], [], []
    for query in queries.unbind(1):
        before = history and History(history.total.unsqueeze(1), history.last.unsqueeze(1))
        vector, given = attention(query.unsqueeze(1), context, before)
        mixed.append(vector)
        weights.append(given)
        if history is not None:
            again.append(repetition(given.squeeze(1), history.total))
            history = remember(history, given.squeeze(1))
    repeated = torch.stack(again, 1) if again else torch.zeros(queries.shape[:2])
    return torch.cat(mixed, 1), torch.cat(weights, 1), repeated


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize(
    ("config", "memory_width"), KINDS, ids=[f"{config.kind}{place}" for place, (config, _) in enumerate(KINDS)]
)
@torch.no_grad()
def test_it_is_the_papers_formula(config, memory_width: int, options: dict[str, Any]) -> None:
    """See et al. 2017, eq. 10 to 12, is in the loops too: coverage is what was given to a position so far."""
    config = config.model_copy(update=options)
    attention, memory = made(config, memory_width), memories(memory_width)
    queries = torch.randn(len(LENGTHS), NUM_STEPS, WIDTH)
    mixed, weights, again = run(attention, memory, queries)
    parameters = numbers(attention)
    for row, length in enumerate(LENGTHS):
        states = memory.states[row, :length].tolist()
        coverage, last = [0.0] * length, [0.0] * length
        for step in range(NUM_STEPS):
            vector, expected = attend(config, parameters, queries[row, step].tolist(), states, coverage, last)
            torch.testing.assert_close(weights[row, step, :length], torch.tensor(expected), **CLOSE)
            torch.testing.assert_close(mixed[row, step], torch.tensor(vector), **CLOSE)
            assert weights[row, step, length:].eq(0).all()
            if attention.first(attention.start(memory)) is not None:
                repeated = sum(min(new, old) for new, old in zip(expected, coverage, strict=True))
                assert float(again[row, step]) == pytest.approx(repeated, abs=1e-5)
            coverage = [old + new for old, new in zip(coverage, expected, strict=True)]
            last = expected


@pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member().kind)
@torch.no_grad()
def test_every_kind_reads_the_coverage_or_refuses_it(member) -> None:
    """Whatever kind there is: what was attended before must change the weights, or the option be an error."""
    config = member(coverage=True)
    try:
        attention = made(config, WIDTH, scale=0.3)
    except UsageError as refusal:  # to be read or refused: both are right
        assert "model.decoder.attention.coverage" in str(refusal)  # noqa: PT017
        return
    context = attention.start(memories(WIDTH, (7, 2, 4)))
    nothing = torch.zeros(3, 1, 7)
    query = torch.randn(3, 1, WIDTH)
    _, fresh = attention(query, context, History(nothing, nothing))
    _, again = attention(query, context, History(10 * torch.rand(3, 1, 7) * context.mask.unsqueeze(1), nothing))
    assert (fresh[0] - again[0]).abs().max() > 1e-4


@pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member().kind)
@pytest.mark.parametrize("normaliser", ["softmax", "sparsemax", "entmax"])
@torch.no_grad()
def test_every_kind_gives_padding_nothing_and_mixes_in_the_memorys_width(member, normaliser: str) -> None:
    attention, memory = made(member(normaliser=normaliser), WIDTH), memories(WIDTH, (7, 2, 4))
    context = attention.start(memory)
    nothing = torch.zeros(3, 2, 7)
    mixed, weights = attention(torch.randn(3, 2, WIDTH), context, History(nothing, nothing))
    assert mixed.shape == (3, 2, WIDTH)
    assert weights[~memory.mask.unsqueeze(1).expand_as(weights)].eq(0).all()
    assert weights.ge(0).all()
    assert weights.sum(-1).gt(0).all()
    assert weights.sum(-1).le(1 + 1e-5).all()


@torch.no_grad()
def test_heads_are_those_of_the_library() -> None:
    """With one width on all sides and no bias for the keys it is `torch.nn.MultiheadAttention`."""
    attention = made(MultiHeadAttentionConfig(heads=3), WIDTH)
    assert isinstance(attention, MultiHeadMemoryAttention)
    library = nn.MultiheadAttention(WIDTH, 3, batch_first=True)
    parts = (attention.query, attention.key, attention.value)
    library.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
    library.in_proj_bias.copy_(torch.cat([attention.query.bias, torch.zeros(WIDTH), attention.value.bias]))
    library.out_proj.load_state_dict(attention.output.state_dict())
    memory, query = memories(WIDTH), torch.randn(3, 2, WIDTH)
    expected = library(query, memory.states, memory.states, key_padding_mask=~memory.mask)
    for ours, theirs in zip(attention(query, attention.start(memory)), expected, strict=True):
        torch.testing.assert_close(ours, theirs, **CLOSE)


@torch.no_grad()
def test_the_window_follows_the_position_and_the_position_the_length() -> None:
    attention = made(LocalAttentionConfig(window=1), WIDTH)
    assert isinstance(attention, LocalAttention)
    query, memory = torch.randn(3, 5, WIDTH), memories(WIDTH)
    _, weights = attention(query, attention.start(memory))
    centre = attention.centre(query, memory.mask)
    torch.testing.assert_close(centre[0] / LENGTHS[0], attention.centre(query[:1], memory.mask[2:])[0] / LENGTHS[2])
    for row, length in enumerate(LENGTHS):
        for step in range(5):
            attended = weights[row, step].nonzero().flatten().tolist()
            inside = [place for place in range(length) if abs(place - float(centre[row, step])) <= 1]
            assert attended == inside
            assert inside


@torch.no_grad()
def test_a_window_wider_than_the_sentence_hides_nothing() -> None:
    wide, narrow = LocalAttentionConfig(window=1000), GeneralAttentionConfig()
    local, general = made(wide, WIDTH), made(narrow, WIDTH)
    general.load_state_dict({name: value for name, value in local.state_dict().items() if name == "key.weight"})
    query, memory = torch.randn(3, 2, WIDTH), memories(WIDTH)
    _, expected = general(query, general.start(memory))
    _, weights = local(query, local.start(memory))
    torch.testing.assert_close(weights, expected, rtol=2e-4, atol=2e-4)


def decoding(attention: dict[str, Any]) -> tuple[Seq2Seq, Batch]:
    """Return a small model without dropout and pairs to read."""
    part = {"kind": "gru", "layers": 1, "width": WIDTH, "dropout": 0.0}
    section = {"encoder": part, "decoder": part | {"attention": attention}}
    torch.manual_seed(5)
    model = build(ModelConfig.model_validate(section), 13, 13)
    targets = [[9, 8, 7, 6, 5], [4], [10, 11, 12]]
    return model, collate_pairs(plain_sources([[4, 5, 6, 7, 8, 9], [7], [8, 9]]), targets)


@pytest.mark.parametrize("coverage", [True, False])
@pytest.mark.parametrize("kind", ["general", "multi_head", "local"])
@torch.no_grad()
def test_the_loss_of_a_token_has_its_repetition_in_training_only(kind: str, coverage: bool) -> None:
    """See et al. 2017, eq. 12 and 13: −log P + λ Σ min(a, c), with c the sum of the weights given before."""
    options = {"heads": 2} if kind == "multi_head" else {}
    model, data = decoding({"kind": kind, "coverage": coverage, "coverage_loss": 0.7} | options)
    weights = model.attention(data)
    plain, trained = model.eval().losses(data), model.train().losses(data)
    assert weights is not None
    for row, length in enumerate(data.target.mask.sum(1).tolist()):
        coverage_vector = [0.0] * weights.shape[2]
        for step in range(length):
            given = weights[row, step].tolist()
            again = sum(min(new, old) for new, old in zip(given, coverage_vector, strict=True))
            assert float(trained[row, step] - plain[row, step]) == pytest.approx(0.7 * again, abs=1e-5)
            assert (again > 0) == (step > 0)
            coverage_vector = [old + new for old, new in zip(coverage_vector, given, strict=True)]


@pytest.mark.parametrize(
    "attention", [{"kind": "general"}, {"kind": "general", "coverage": True}, {"kind": "location"}]
)
@torch.no_grad()
def test_the_penalty_of_all_positions_is_that_of_each_step(attention: dict[str, Any]) -> None:
    model, data = decoding(attention | {"coverage_loss": 0.7})
    memory = model.encoder(data.source)
    at_once = model.decoder(data.target.inputs, memory).penalty
    context, state = model.decoder.start(memory)
    for time, token in enumerate(data.target.inputs.unbind(1)):
        output, state = model.decoder.step(token, state, context)
        torch.testing.assert_close(at_once[:, time], output.penalty, **CLOSE)
    assert at_once[:, 1:].gt(0).all()


@torch.no_grad()
def test_the_loss_alone_changes_no_weight() -> None:
    """A model that is trained with the loss only is, as a network, the model without it."""
    plain, data = decoding({"kind": "general"})
    with_loss, _ = decoding({"kind": "general", "coverage_loss": 1.0})
    assert plain.state_dict().keys() == with_loss.state_dict().keys()
    torch.testing.assert_close(plain.attention(data), with_loss.attention(data), **CLOSE)
    torch.testing.assert_close(plain.eval().losses(data), with_loss.eval().losses(data), **CLOSE)


@pytest.mark.parametrize("options", [{}, {"coverage": True}])
def test_the_coverage_loss_teaches_not_to_look_again(options: dict[str, Any]) -> None:
    """Steps against the penalty alone lower it."""
    model, data = decoding({"kind": "additive", "coverage_loss": 1.0} | options)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    penalties = []
    for _ in range(40):
        output = model.decoder(data.target.inputs, model.encoder(data.source))
        penalty = output.penalty[data.target.mask].sum()
        penalties.append(float(penalty.detach()))
        optimizer.zero_grad()
        penalty.backward()
        optimizer.step()
    assert penalties[-1] < 0.9 * penalties[0]


@torch.no_grad()
def test_half_precision_memories_meet_sparse_weights() -> None:
    """Thresholds are found in fp32; what is mixed has the precision of the memory."""
    attention = made(GeneralAttentionConfig(normaliser="sparsemax"), WIDTH).bfloat16()
    memory = memories(WIDTH)
    context = AttentionContext(attention.keys(memory.states.bfloat16()), memory.states.bfloat16(), memory.mask)
    mixed, weights = attention(torch.randn(3, 2, WIDTH).bfloat16(), context)
    assert mixed.dtype == torch.bfloat16
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 2), **CLOSE)
