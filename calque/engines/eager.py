"""The engine that every model has: search over the model itself, operation by operation."""

from typing import Any, Protocol

from torch import Tensor

from calque.search.hypotheses import Hypotheses
from calque.search.options import SearchConfig
from calque.search.processors import ForcedPrefix
from calque.search.scorer import Scorer
from calque.search.steps import search


class Engine(Protocol):
    """Search the outputs of a batch."""

    @property
    def owns_threads(self) -> bool:
        """Return whether the engine spreads a batch over threads of its own, so that more processes gain nothing."""

    def __call__(self, source: Any, lengths: Tensor, prefixes: Tensor, options: SearchConfig) -> Hypotheses:
        """Return the best outputs of the B sentences of the record `source`, `lengths` [B] tokens long.

        `prefixes` [B, P] int64 are the tokens with which outputs must begin, padded with PAD; P may be 0.
        """


class Eager:
    """Search with a scorer as it is: a model, or several as an ensemble."""

    owns_threads = False

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer

    def __call__(self, source: Any, lengths: Tensor, prefixes: Tensor, options: SearchConfig) -> Hypotheses:
        """Return the best outputs."""
        processors = [ForcedPrefix(prefixes)] if prefixes.shape[1] else []
        return search(self.scorer, source, lengths, options, processors)
