"""An engine's own search is taken for what it honours alone; everything else goes through the steps of its scorer."""

from typing import Any

import pytest
import torch
from random_models import narrow, redrawn, sentences
from torch import Tensor

from calque.data.collate import collate_sources
from calque.engines.compiled.search import Compiled
from calque.engines.compiled.transformer import CompiledTransformer
from calque.engines.eager import Eager
from calque.engines.engine import PREFIX, Branch, Engine
from calque.model import ModelConfig, Seq2Seq
from calque.search.choose import Greedy
from calque.search.hypotheses import Hypotheses
from calque.search.options import SearchConfig
from calque.search.processors import MinimumLength
from calque.search.scorer import Scorer
from calque.text.source import plain_sources

OTHER_VALUES: dict[str, Any] = {
    "beam": 3,
    "n_best": 2,
    "max_length_ratio": 1.0,
    "max_length_extra": 3,
    "min_length": 4,
    "length_penalty": 0.3,
    "normalisation": "gnmt",
    "no_repeat_ngram": 2,
    "unknown": False,
}


class TakenError(Exception):
    """The engine's own search was asked."""


class Own(Engine):
    """An engine whose search of its own is seen when it is taken."""

    honours = frozenset(("beam", "max_length_extra", PREFIX))

    def __init__(self, scorer: Scorer) -> None:
        self.model = scorer

    def scorer(self) -> Scorer:
        return self.model

    def branch(self, options: SearchConfig) -> Branch:
        def whole(source: Any, lengths: Tensor, prefixes: Tensor) -> Hypotheses:
            raise TakenError

        return whole


class Tomorrow(SearchConfig):
    """Search settings with a field that no engine of today knows."""

    temperature: float = 1.0


@pytest.fixture(scope="module")
def model() -> Seq2Seq:
    return redrawn(ModelConfig.model_validate(narrow("transformer")), 30, 20).eval()


@pytest.fixture(scope="module")
def batch() -> tuple[Any, Tensor, Tensor]:
    source = collate_sources(plain_sources(sentences(7, 30)))
    return source, source.mask.sum(1), torch.zeros(7, 0, dtype=torch.int64)


def test_every_setting_is_tried() -> None:
    assert OTHER_VALUES.keys() == SearchConfig.model_fields.keys()


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("name", OTHER_VALUES)
@torch.no_grad()
def test_no_setting_is_ignored(model: Seq2Seq, batch: tuple[Any, Tensor, Tensor], name: str) -> None:
    options = SearchConfig.model_validate({name: OTHER_VALUES[name]})
    found = Compiled(CompiledTransformer(model, is_narrow=False))(*batch, options)
    expected = Eager(model)(*batch, options)
    assert torch.equal(found.tokens, expected.tokens)
    assert torch.allclose(found.scores, expected.scores, atol=1e-4)


@torch.no_grad()
def test_the_own_search_is_taken_for_what_it_honours(model: Seq2Seq, batch: tuple[Any, Tensor, Tensor]) -> None:
    source, lengths, none = batch
    own, options = Own(model), SearchConfig(beam=2, max_length_extra=3)
    for prefixes in (none, torch.full([7, 1], 5)):
        with pytest.raises(TakenError):
            own(source, lengths, prefixes, options)
        with pytest.raises(TakenError):
            own(source, lengths, prefixes, SearchConfig())


@torch.no_grad()
def test_anything_else_goes_through_the_steps(model: Seq2Seq, batch: tuple[Any, Tensor, Tensor]) -> None:
    own, eager = Own(model), Eager(model)
    for name in OTHER_VALUES.keys() - own.honours:
        options = SearchConfig.model_validate({name: OTHER_VALUES[name]})
        assert torch.equal(own(*batch, options).tokens, eager(*batch, options).tokens)
    plain = SearchConfig()
    assert torch.equal(own(*batch, Tomorrow(temperature=2.0)).tokens, eager(*batch, plain).tokens)
    greedy = eager(*batch, SearchConfig(beam=1))
    assert torch.equal(own(*batch, SearchConfig(beam=1), choose=Greedy()).tokens, greedy.tokens)
    longer = own(*batch, plain, [MinimumLength(6)])
    assert longer.lengths.min() >= 6
