"""Search in C against search over tensors: the same hypotheses for vocabularies, beams and options of every kind."""

from typing import Any

import pytest
import torch
from random_models import narrow, redrawn, sentences
from torch import Tensor

from calque.data.collate import collate_sources
from calque.engines.compiled.search import Compiled
from calque.engines.compiled.transformer import CompiledTransformer
from calque.engines.eager import Eager
from calque.model import ModelConfig, Seq2Seq
from calque.search.options import SearchConfig
from calque.text.source import plain_sources

pytestmark = pytest.mark.usefixtures("compiler")

# Fewer tokens than a beam, fewer than a vector's lanes, and more than are summed at once.
VOCAB_SIZES = (5, 17, 700)
OPTIONS = {
    "greedy": SearchConfig(beam=1),
    "as it comes": SearchConfig(),
    "all of a beam": SearchConfig(beam=4, n_best=4),
    "some of a beam": SearchConfig(beam=6, n_best=2),
    "wide": SearchConfig(beam=40, n_best=3),
    "gnmt": SearchConfig(beam=4, n_best=4, normalisation="gnmt", length_penalty=0.6),
    "plain sums": SearchConfig(beam=4, n_best=4, normalisation="none"),
    "the best plain sum": SearchConfig(beam=6, n_best=1, normalisation="none"),
    "length does not count": SearchConfig(beam=4, n_best=4, length_penalty=0.0),
    "shorter is better": SearchConfig(beam=4, n_best=4, length_penalty=-0.5),
    "longer is better": SearchConfig(beam=4, n_best=4, length_penalty=2.0),
    "nothing unknown": SearchConfig(beam=4, n_best=4, unknown=False),
    "as long as the source": SearchConfig(beam=4, n_best=4, max_length_ratio=1.0, max_length_extra=0),
    "empty": SearchConfig(beam=3, n_best=3, max_length_ratio=0.0, max_length_extra=0),
}


@pytest.fixture(scope="module", params=VOCAB_SIZES)
def model(request: pytest.FixtureRequest) -> Seq2Seq:
    """Return a Transformer over a vocabulary, whose feed-forward layers fill whole panels."""
    section = narrow("transformer")
    wide = {side: section[side] | {"feed_forward": 96} for side in ("encoder", "decoder")}
    return redrawn(ModelConfig.model_validate(section | wide | {"tie_embeddings": "target"}), 19, request.param).eval()


class Counted:
    """Score as a model does, and count the steps."""

    def __init__(self, model: Seq2Seq) -> None:
        self.model, self.steps = model, 0

    def start(self, source: Any) -> tuple[Any, Any]:
        return self.model.start(source)

    def step(self, token: Tensor, state: Any, context: Any) -> tuple[Tensor, Any]:
        self.steps += 1
        return self.model.step(token, state, context)


def count_calls(owner: object, name: str, monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Return a list that grows by one with each call of a method."""
    method, calls = getattr(owner, name), list[None]()

    def counting(*arguments: Any) -> Any:
        calls.append(None)
        return method(*arguments)

    monkeypatch.setattr(owner, name, counting)
    return calls


@pytest.mark.parametrize("name", OPTIONS)
@torch.no_grad()
def test_the_same_hypotheses(model: Seq2Seq, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source = collate_sources(plain_sources(sentences(9, 19)))
    lengths, prefixes = source.mask.sum(1), torch.empty(9, 0, dtype=torch.int64)
    counted, scorer = Counted(model), CompiledTransformer(model, is_narrow=False)
    expected = Eager(counted)(source, lengths, prefixes, OPTIONS[name])
    made = count_calls(scorer, "step_with", monkeypatch)
    found = Compiled(scorer)(source, lengths, prefixes, OPTIONS[name])
    # It ends as soon as nothing can change, and no sooner.
    assert len(made) == counted.steps
    assert torch.equal(found.lengths, expected.lengths)
    assert torch.equal(found.tokens, expected.tokens)
    torch.testing.assert_close(found.scores, expected.scores, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.log_probs, expected.log_probs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("is_narrow", [False, True], ids=["fp32", "8 bits"])
@torch.no_grad()
def test_numbers_that_are_none_end_the_search(model: Seq2Seq, is_narrow: bool) -> None:
    """A model whose weights are broken gives nothing, and breaks nothing else."""
    source = collate_sources(plain_sources(sentences(3, 19)))
    prefixes = torch.empty(3, 0, dtype=torch.int64)
    head = model.head.projection
    whole = head.bias.clone()
    head.bias.fill_(float("nan"))
    try:
        scorer = CompiledTransformer(model, is_narrow)
        for beam in (1, 4):
            found = Compiled(scorer)(source, source.mask.sum(1), prefixes, SearchConfig(beam=beam, n_best=beam))
            assert found.tokens.shape[:2] == (3, beam)
    finally:
        head.bias.copy_(whole)
