"""Parity of the recurrent parts with `torch.nn`: the same weights give the same numbers; attention against loops."""

import math

import pytest
import torch
from torch import Tensor, nn

from calque.data.collate import collate_sources
from calque.nn.attention.additive import AdditiveAttentionConfig
from calque.nn.attention.dot import DotAttentionConfig, GeneralAttentionConfig
from calque.nn.attention.kinds import NoAttentionConfig
from calque.nn.embedding import Embedding
from calque.nn.parts import Memory, MemoryShape
from calque.nn.recurrent.encoder_decoder import (
    RecurrentDecoder,
    RecurrentDecoderConfig,
    RecurrentEncoder,
    RecurrentEncoderConfig,
    RecurrentLayers,
)
from calque.text.source import plain_sources

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
VOCAB_SIZE, WIDTH = 17, 12
LIBRARY = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
SENTENCES = [[5, 6, 7, 8, 9, 10], [4], [11, 12, 13]]
each_cell = pytest.mark.parametrize("cell", LIBRARY)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(7)


def copy_recurrent(layers: RecurrentLayers, library: nn.RNNBase) -> None:
    """Give the library's stack the weights of calque's single layers, biases redrawn so that none is zero."""
    with torch.no_grad():
        for index, layer in enumerate(layers.layers):
            for name, parameter in layer.named_parameters():
                if "bias" in name:
                    parameter.uniform_(-0.5, 0.5)
                getattr(library, name.replace("_l0", f"_l{index}")).copy_(parameter)


@each_cell
@pytest.mark.parametrize("both", [True, False])
@torch.no_grad()
def test_recurrent_encoder(cell: str, both: bool) -> None:
    """A padded batch through calque gives what each sentence gives alone, unpadded, through the library."""
    config = RecurrentEncoderConfig(kind=cell, layers=2, width=WIDTH, bidirectional=both)
    encoder = RecurrentEncoder(config, Embedding(VOCAB_SIZE, WIDTH)).eval()
    directions = 2 if both else 1
    library = LIBRARY[cell](WIDTH, WIDTH // directions, 2, batch_first=True, bidirectional=both)
    copy_recurrent(encoder.layers, library)
    source = collate_sources(plain_sources(SENTENCES))
    memory = encoder(source)
    assert len(memory.summary) == (2 if cell == "lstm" else 1)
    for row, sentence in enumerate(SENTENCES):
        length = len(sentence) + 1
        vectors = encoder.embedding.weight[source.tokens[row : row + 1, :length]] * math.sqrt(WIDTH)
        states, last = library(vectors)
        torch.testing.assert_close(memory.states[row, :length], states[0], **CLOSE)
        for ours, theirs in zip(memory.summary, last if cell == "lstm" else (last,), strict=True):
            # [layers · directions, 1, D'] -> [layers, directions · D']
            torch.testing.assert_close(ours[row], theirs.reshape(2, WIDTH), **CLOSE)


@each_cell
@torch.no_grad()
def test_recurrent_decoder_layers(cell: str) -> None:
    layers = RecurrentLayers(cell, [WIDTH] * 3, False, 0.0)
    library = LIBRARY[cell](WIDTH, WIDTH, 2, batch_first=True)
    copy_recurrent(layers, library)
    values = torch.randn(3, 5, WIDTH)
    first = tuple(torch.randn(3, 2, WIDTH) for _ in range(2 if cell == "lstm" else 1))
    outputs, finals = layers(values, first)
    start = tuple(part.transpose(0, 1).contiguous() for part in first)
    expected, last = library(values, start if cell == "lstm" else start[0])
    torch.testing.assert_close(outputs, expected, **CLOSE)
    for ours, theirs in zip(finals, last if cell == "lstm" else (last,), strict=True):
        torch.testing.assert_close(ours, theirs.transpose(0, 1), **CLOSE)


@each_cell
@torch.no_grad()
def test_textbook_network(cell: str) -> None:
    """Encoder's final states handed over, no attention: two library layers, one after the other."""
    shape = MemoryShape(WIDTH, WIDTH, 2, cell == "lstm")
    config = RecurrentDecoderConfig(kind=cell, layers=2, width=WIDTH, attention=NoAttentionConfig(), bridge="final")
    decoder = RecurrentDecoder(config, Embedding(VOCAB_SIZE, WIDTH), shape).eval()
    library = LIBRARY[cell](WIDTH, WIDTH, 2, batch_first=True)
    copy_recurrent(decoder.layers, library)
    summary = tuple(torch.randn(2, 2, WIDTH) for _ in range(2 if cell == "lstm" else 1))
    tokens = torch.randint(VOCAB_SIZE, (2, 4))
    output = decoder(tokens, Memory(torch.randn(2, 3, WIDTH), torch.ones(2, 3, dtype=torch.bool), summary))
    start = tuple(part.transpose(0, 1).contiguous() for part in summary)
    vectors = decoder.embedding.weight[tokens] * math.sqrt(WIDTH)
    expected, _ = library(vectors, start if cell == "lstm" else start[0])
    torch.testing.assert_close(output.hidden, expected, **CLOSE)


def attention_by_loops(attention: nn.Module, kind: str, query: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
    """Mix one memory state after the other, by the formulas of the papers."""
    mixed, weights = torch.zeros(*query.shape[:2], memory.states.shape[2]), torch.zeros(*query.shape[:2], 5)
    for row in range(query.shape[0]):
        length = int(memory.mask[row].sum())
        for place in range(query.shape[1]):
            asked = query[row, place]
            scores = []
            for state in memory.states[row, :length]:
                match kind:
                    case "dot":
                        scores.append(sum(asked[unit] * state[unit] for unit in range(len(asked))))
                    case "general":
                        scores.append(asked @ (attention.key.weight @ state))
                    case _:
                        inner = attention.query.weight @ asked + attention.query.bias + attention.key.weight @ state
                        scores.append(attention.energy @ torch.tanh(inner))
            total = sum(math.exp(score) for score in scores)
            for index, score in enumerate(scores):
                weights[row, place, index] = math.exp(score) / total
                mixed[row, place] += weights[row, place, index] * memory.states[row, index]
    return mixed, weights


@pytest.mark.parametrize(
    ("config", "memory_width"),
    [
        (DotAttentionConfig(), 6),
        (GeneralAttentionConfig(), 6),
        (GeneralAttentionConfig(), 9),
        (AdditiveAttentionConfig(), 6),
        (AdditiveAttentionConfig(width=5), 9),
    ],
    ids=str,
)
@torch.no_grad()
def test_recurrent_attention(config, memory_width: int) -> None:
    attention = config.build(6, memory_width)
    assert attention is not None
    mask = torch.tensor([[True] * 5, [True, True, False, False, False]])
    memory = Memory(torch.randn(2, 5, memory_width), mask, ())
    query = torch.randn(2, 3, 6)
    mixed, weights = attention(query, attention.start(memory))
    expected, expected_weights = attention_by_loops(attention, config.kind, query, memory)
    torch.testing.assert_close(weights, expected_weights, **CLOSE)
    torch.testing.assert_close(mixed, expected, **CLOSE)
    assert weights[1, :, 2:].eq(0).all()


@torch.no_grad()
def test_decoder_with_attention_and_input_feeding() -> None:
    """Luong et al. 2015, section 3.3, step by step with library cells."""
    shape = MemoryShape(8, 8, 2, True)
    config = RecurrentDecoderConfig(kind="lstm", layers=2, width=6, input_feeding=True)
    decoder = RecurrentDecoder(config, Embedding(VOCAB_SIZE, 6), shape).eval()
    cells = [nn.LSTMCell(12, 6), nn.LSTMCell(6, 6)]
    for cell, layer in zip(cells, decoder.layers.layers, strict=True):
        cell.load_state_dict({name.removesuffix("_l0"): value for name, value in layer.state_dict().items()})
    memory = Memory(
        torch.randn(1, 5, 8), torch.ones(1, 5, dtype=torch.bool), (torch.randn(1, 2, 8), torch.randn(1, 2, 8))
    )
    tokens = torch.tensor([[2, 5, 6, 7]])
    output = decoder(tokens, memory)
    # The bridge: tanh of a dense layer over the top layer's final state, one for hidden and one for cell.
    parts = [torch.tanh(dense(part[:, -1])) for dense, part in zip(decoder.bridge.dense, memory.summary, strict=True)]
    states = [(parts[0][:, :6], parts[1][:, :6]), (parts[0][:, 6:], parts[1][:, 6:])]
    fed = torch.zeros(1, 6)
    for time in range(4):
        values = torch.cat([decoder.embedding.weight[tokens[:, time]] * math.sqrt(6), fed], dim=1)
        for index, cell in enumerate(cells):
            states[index] = cell(values, states[index])
            values = states[index][0]
        mixed, _ = attention_by_loops(decoder.attention, "general", values.unsqueeze(1), memory)
        fed = torch.tanh(decoder.combine(torch.cat([mixed[:, 0], values], dim=1)))
        torch.testing.assert_close(output.hidden[:, time], fed, **CLOSE)
