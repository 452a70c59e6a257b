"""The memory network against the equations of Sukhbaatar et al. 2015, computed sentence by sentence."""

import pytest
import torch
from torch import Tensor

from calque.data.collate import collate_pairs
from calque.ids import EOS
from calque.nn.embedding import Embedding
from calque.nn.memory_network import MemoryEncoder, MemoryEncoderConfig
from calque.text.source import plain_sources

VOCAB, WIDTH, HOPS, AGES, PLACES = 20, 6, 3, 4, 5
SOURCES = [
    [5, 6, 7, EOS, 8, 9, EOS, 10, 11, 12, EOS, 13],
    [5, 6, EOS, 7, 8, 9, 10, 11, 12, 13, 14],
    [9, 8],
    [5, EOS, EOS, 6, EOS, 7, EOS, 8, EOS, 9, EOS, 10],
]


def encoder() -> MemoryEncoder:
    torch.manual_seed(3)
    config = MemoryEncoderConfig(hops=HOPS, width=WIDTH, ages=AGES, places=PLACES, dropout=0.0)
    return config.build(Embedding(VOCAB, WIDTH)).eval()


def sentences_of(tokens: list[int]) -> list[list[int]]:
    """Return the sentences with the </s> that closes each, the last with that of the source."""
    found: list[list[int]] = [[]]
    for token in tokens:
        found[-1].append(token)
        if token == EOS:
            found.append([])
    found[-1].append(EOS)
    return found


def bag(model: MemoryEncoder, hop: int, sentence: list[int], age: int) -> Tensor:
    total = model.ages[hop, min(age, AGES - 1)].clone()
    for place, token in enumerate(sentence):
        total += model.places[min(place, PLACES - 1)] * model.tables[hop].weight[token]
    return total


def asked_by_hand(model: MemoryEncoder, tokens: list[int]) -> Tensor:
    """Return the question's vector after all hops."""
    sentences = sentences_of(tokens)
    newest = len(sentences) - 1
    asked = bag(model, 0, sentences[0], newest)
    read = list(enumerate(sentences))[1:] or [(0, sentences[0])]
    for hop in range(HOPS):
        scores = torch.stack([asked @ bag(model, hop, sentence, newest - number) for number, sentence in read])
        found = torch.stack([bag(model, hop + 1, sentence, newest - number) for number, sentence in read])
        asked = asked + scores.softmax(dim=0) @ found
    return asked


@pytest.mark.parametrize("row", range(len(SOURCES)))
def test_the_question_looks_at_the_sentences(row: int) -> None:
    model = encoder()
    source = collate_pairs(plain_sources(SOURCES), [[4]] * len(SOURCES)).source
    with torch.no_grad():
        (summary,) = model(source).summary
        torch.testing.assert_close(summary[row, 0], asked_by_hand(model, SOURCES[row]), rtol=1e-5, atol=1e-5)


def test_a_newer_sentence_is_told_from_an_older_one() -> None:
    model = encoder()
    first, second = [5, EOS, 6, 7, EOS, 8, 9], [5, EOS, 8, 9, EOS, 6, 7]
    source = collate_pairs(plain_sources([first, second]), [[4]] * 2).source
    (summary,) = model(source).summary
    assert not torch.allclose(summary[0], summary[1], atol=1e-3)
