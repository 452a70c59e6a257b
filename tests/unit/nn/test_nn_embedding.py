"""Embeddings and what is tied: one table, one storage, one gradient."""

import math

import pytest
import torch

from calque.data.collate import collate_pairs
from calque.model import ModelConfig, Seq2Seq, build
from calque.nn.embedding import Embedding, sinusoids
from calque.text.source import plain_sources

KINDS = {
    "transformer": {"kind": "transformer", "layers": 1, "width": 8, "heads": 2, "feed_forward": 12},
    "lstm": {"kind": "lstm", "layers": 1, "width": 8},
}


def tables(model: Seq2Seq) -> dict[str, torch.nn.Parameter]:
    return {
        "source": model.encoder.embedding.weight,
        "target": model.decoder.embedding.weight,
        "head": model.head.projection.weight,
    }


def made(kind: str, tie: str) -> Seq2Seq:
    torch.manual_seed(0)
    config = ModelConfig.model_validate({"encoder": KINDS[kind], "decoder": KINDS[kind], "tie_embeddings": tie})
    return build(config, 11, 11)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("tie", "num_tables"), [("none", 3), ("target", 2), ("all", 1)])
def test_tied_tables_share_storage_and_are_one_parameter(kind: str, tie: str, num_tables: int) -> None:
    model = made(kind, tie)
    assert len({table.data_ptr() for table in tables(model).values()}) == num_tables
    own = {id(parameter) for parameter in model.parameters()}
    assert len(own) == len(list(model.parameters()))
    assert len(own & {id(table) for table in tables(model).values()}) == num_tables


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tie", ["target", "all"])
def test_a_tied_table_gets_one_gradient_the_sum_of_its_uses(kind: str, tie: str) -> None:
    tied, untied = made(kind, tie), made(kind, "none")
    untied.load_state_dict(tied.state_dict())
    batch = collate_pairs(plain_sources([[4, 5, 6], [7]]), [[8, 9], [10, 4, 5]])
    for model in (tied, untied):
        model.eval().losses(batch).sum().backward()
    shared = ["target", "head"] if tie == "target" else ["source", "target", "head"]
    gradients = [tables(tied)[name].grad for name in shared]
    assert all(gradient is gradients[0] for gradient in gradients)
    expected = torch.stack([tables(untied)[name].grad for name in shared]).sum(dim=0)
    torch.testing.assert_close(gradients[0], expected, rtol=1e-5, atol=1e-5)


def test_vectors_are_scaled_rows_of_the_table() -> None:
    embedding = Embedding(9, 16)
    tokens = torch.tensor([[1, 8], [0, 1]])
    torch.testing.assert_close(embedding(tokens), embedding.weight[tokens] * math.sqrt(16))
    assert embedding.vocab_size == 9


def test_vectors_start_at_unit_variance() -> None:
    torch.manual_seed(0)
    vectors = Embedding(2000, 64)(torch.arange(2000))
    assert vectors.var().item() == pytest.approx(1.0, rel=0.05)


def test_positions_differ_and_do_not_depend_on_their_neighbours() -> None:
    vectors = sinusoids(torch.arange(600), 16)
    assert torch.cdist(vectors, vectors).fill_diagonal_(1.0).min() > 1e-3
    assert torch.equal(sinusoids(torch.tensor([[599, 3]]), 16)[0], vectors[[599, 3]])
    assert vectors.norm(dim=1).allclose(torch.full((600,), math.sqrt(8)))
