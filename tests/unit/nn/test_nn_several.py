"""Several sources: each part is read as a sentence of its own; hierarchical attention is the paper's formula."""

import math

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from calque.batch import Source
from calque.data.collate import collate_sources
from calque.errors import UsageError
from calque.ids import EOS
from calque.model import ModelConfig, build
from calque.nn.attention.hierarchical import HierarchicalAttention, HierarchicalAttentionConfig
from calque.nn.embedding import Embedding
from calque.nn.parts import Memory
from calque.nn.recurrent.encoder_decoder import RecurrentEncoderConfig
from calque.nn.several import SeveralEncoder, SeveralEncoderConfig
from calque.nn.transformer.encoder_decoder import TransformerEncoderConfig
from calque.text.source import SourceIds

WIDTH = 8
LSTM = RecurrentEncoderConfig(kind="lstm", layers=2, width=WIDTH)
GRU = RecurrentEncoderConfig(kind="gru", layers=1, width=WIDTH, bidirectional=False)
TRANSFORMER = TransformerEncoderConfig(layers=1, width=WIDTH, heads=2, feed_forward=12)
# Three rows of three parts each, some of them blank.
PARTS = [([5, 6, 7], [8], [9, 4]), ([], [4, 5, 6, 7], []), ([4], [], [5, 6, 7, 8, 9])]


def several(*encoders: RecurrentEncoderConfig | TransformerEncoderConfig) -> SeveralEncoder:
    """Build an encoder of several."""
    torch.manual_seed(1)
    return SeveralEncoderConfig(encoders=encoders).build(Embedding(12, WIDTH)).eval()


def joined(parts: tuple[list[int], ...]) -> SourceIds:
    """Return parts as one source, each but the last closed by </s>."""
    tokens, segments = [], []
    for number, part in enumerate(parts):
        own = [*part, EOS] if number < len(parts) - 1 else part
        tokens += own
        segments += [number] * len(own)
    return SourceIds(tokens, segments=segments)


def test_every_closing_belongs_to_its_part() -> None:
    """Give the last </s> to the last part, also where that part is blank."""
    source = collate_sources([joined(parts) for parts in PARTS])
    assert source.segment is not None
    for row, parts in enumerate(PARTS):
        for number, part in enumerate(parts):
            inside = source.mask[row] & (source.segment[row] == number)
            assert source.tokens[row][inside].tolist() == [*part, EOS]


@torch.no_grad()
@pytest.mark.parametrize("configs", [(LSTM, GRU, TRANSFORMER), (LSTM, LSTM, LSTM), (TRANSFORMER, TRANSFORMER, GRU)])
def test_each_part_is_read_as_a_sentence_of_its_own(configs: tuple) -> None:
    encoder = several(*configs)
    memory = encoder(collate_sources([joined(parts) for parts in PARTS]))
    assert memory.segment is not None
    for row, parts in enumerate(PARTS):
        summaries = []
        for number, (own, part) in enumerate(zip(encoder.encoders, parts, strict=True)):
            alone = own(collate_sources([SourceIds(part)]))
            inside = memory.mask[row] & (memory.segment[row] == number)
            torch.testing.assert_close(memory.states[row][inside], alone.states[0], rtol=1e-5, atol=1e-5)
            summaries.append([state[0, -1] for state in alone.summary])
        for place, state in enumerate(memory.summary):
            expected = torch.cat([summary[place] for summary in summaries])
            torch.testing.assert_close(state[row, 0], expected, rtol=1e-5, atol=1e-5)
    # A cell is handed over where every encoder has one.
    assert len(memory.summary) == (2 if configs == (LSTM, LSTM, LSTM) else 1)
    assert encoder.shape.has_cell == (len(memory.summary) == 2)
    assert encoder.shape.summary_width == memory.summary[0].shape[2] == 3 * WIDTH
    assert memory.states[~memory.mask].eq(0).all()


def test_unequal_widths_are_refused() -> None:
    with pytest.raises(UsageError, match=r"model\.encoder\.encoders: .*must be equal; they are 8, 12"):
        several(LSTM, LSTM.model_copy(update={"width": 12}))
    with pytest.raises(ValidationError, match="at least 2"):
        SeveralEncoderConfig(encoders=(LSTM,))


def attention(within: str, **options) -> HierarchicalAttention:
    """Build a hierarchical attention over three sources, queries of another width than the memory."""
    torch.manual_seed(2)
    config = HierarchicalAttentionConfig(within=within, sources=3, width=5, **options)
    built = config.build(6 if within in ("general", "additive") else WIDTH, WIDTH)
    assert isinstance(built, HierarchicalAttention)
    return built


def memory_of(lengths: list[tuple[int, int, int]]) -> Memory:
    """Return a random memory of rows whose three sources have these lengths."""
    torch.manual_seed(3)
    longest = max(map(sum, lengths))
    mask, segment = torch.zeros(len(lengths), longest, dtype=torch.bool), torch.zeros(len(lengths), longest).long()
    for row, parts in enumerate(lengths):
        mask[row, : sum(parts)] = True
        segment[row, : sum(parts)] = torch.arange(3).repeat_interleave(torch.tensor(parts))
    return Memory(torch.randn(len(lengths), longest, WIDTH), mask, (), segment)


def naive(net: HierarchicalAttention, within: str, query: Tensor, states: Tensor, segment: Tensor) -> tuple:
    """Return the mixed vector and the weights of one query over one sentence without padding, loop by loop."""
    scores = []
    for state in states:
        match within:
            case "dot":
                scores.append(query @ state)
            case "scaled_dot":
                scores.append(query @ state / math.sqrt(WIDTH))
            case "general":
                scores.append(query @ net.within.key.weight @ state)
            case "additive":
                hidden = torch.tanh(net.within.query(query) + net.within.key.weight @ state)
                scores.append(hidden @ net.within.energy)
    numbers = segment.tolist()
    vectors, inner = [], [0.0] * len(states)
    for source in range(3):
        total = sum(math.exp(score) for score, number in zip(scores, numbers, strict=True) if number == source)
        vector = torch.zeros(WIDTH)
        for place, number in enumerate(numbers):
            if number == source:
                inner[place] = math.exp(scores[place]) / total
                vector = vector + inner[place] * states[place]
        vectors.append(vector)
    energies = [
        net.energy @ torch.tanh(net.query(query) + net.source_keys[source].weight @ vectors[source])
        for source in range(3)
    ]
    total = sum(math.exp(energy) for energy in energies)
    shares = [math.exp(energy) / total for energy in energies]
    mixed = sum(shares[source] * (net.source_values[source].weight @ vectors[source]) for source in range(3))
    return mixed, torch.tensor([shares[number] * inner[place] for place, number in enumerate(numbers)])


@torch.no_grad()
@pytest.mark.parametrize("within", ["dot", "scaled_dot", "general", "additive"])
def test_it_is_the_formula_of_the_paper(within: str) -> None:
    net = attention(within)
    memory = memory_of([(2, 3, 1), (1, 1, 1), (4, 1, 2)])
    query = torch.randn(3, 2, 6 if within in ("general", "additive") else WIDTH)
    mixed, weights = net(query, net.start(memory))
    assert memory.segment is not None
    for row in range(3):
        length = int(memory.mask[row].sum())
        for place in range(2):
            states, segment = memory.states[row, :length], memory.segment[row, :length]
            expected_mixed, expected_weights = naive(net, within, query[row, place], states, segment)
            torch.testing.assert_close(mixed[row, place], expected_mixed, rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(weights[row, place, :length], expected_weights, rtol=1e-5, atol=1e-5)
            assert weights[row, place, length:].eq(0).all()


@torch.no_grad()
def test_the_normaliser_is_that_within_a_source() -> None:
    """Leave positions out by a sparse normaliser, but no source: every source has a share."""
    net = attention("additive", normaliser="sparsemax")
    with torch.no_grad():
        net.within.energy.mul_(50)
    memory = memory_of([(4, 3, 3)])
    _, weights = net(torch.randn(1, 5, 6), net.start(memory))
    assert memory.segment is not None
    assert weights.eq(0).any()
    shares = torch.stack([weights[:, :, memory.segment[0] == source].sum(-1) for source in range(3)])
    assert shares.gt(0).all()
    torch.testing.assert_close(shares.sum(0), torch.ones(1, 5))


def test_a_memory_of_one_source_is_refused() -> None:
    memory = memory_of([(1, 1, 1)])
    with pytest.raises(UsageError, match=r"model\.decoder\.attention: hierarchical .*model\.encoder\.kind = several"):
        attention("general").start(Memory(memory.states, memory.mask, ()))


@pytest.mark.parametrize("decoder", ["lstm", "transformer"])
def test_a_source_without_segments_is_our_own_mistake(decoder: str) -> None:
    config = ModelConfig.model_validate(
        {"encoder": {"kind": "several", "encoders": [LSTM, TRANSFORMER]}, "decoder": {"kind": decoder, "width": WIDTH}}
    )
    model = build(config, 12, 12)
    tokens = torch.tensor([[4, 5, EOS]])
    with pytest.raises(AssertionError, match="segment"):
        model.start(Source(tokens, torch.ones_like(tokens, dtype=torch.bool)))
