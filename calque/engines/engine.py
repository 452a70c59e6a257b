"""The interface of engines: a scorer, and optionally a faster search.

An engine declares the search settings that its own search honours. Any other setting, a `choose` or a processor sends
the search through `calque.search.steps` over the engine's scorer, so that no setting is ever ignored.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TypeAlias

from torch import Tensor

from calque.rows import Record
from calque.search.choose import Choose
from calque.search.hypotheses import Hypotheses
from calque.search.options import SearchConfig
from calque.search.processors import ForcedPrefix, Processor
from calque.search.scorer import Scorer
from calque.search.steps import search

PREFIX = "prefix"
"""The name, among the settings that an engine honours, of prefixes that outputs must begin with."""

Branch: TypeAlias = Callable[[Record, Tensor, Tensor], Hypotheses]
"""A whole search: from the record of B sources, their lengths [B] and prefixes [B, P] to the hypotheses."""


class Engine(ABC):
    """An engine searches the outputs of a batch."""

    owns_threads = False
    """Whether the engine uses its own threads, so that more processes are not faster."""
    honours: frozenset[str] = frozenset()
    """The fields of `SearchConfig` (and `PREFIX`) that the engine's own search honours."""

    @abstractmethod
    def scorer(self) -> Scorer:
        """Return the scorer of one search."""

    def branch(self, options: SearchConfig) -> Branch | None:
        """Return the engine's own search with settings that it honours, or None if it has none."""
        return None

    def __call__(
        self,
        source: Record,
        lengths: Tensor,
        prefixes: Tensor,
        options: SearchConfig,
        processors: Sequence[Processor] = (),
        choose: Choose | None = None,
    ) -> Hypotheses:
        """Return the best outputs of the B sentences of the record `source`, `lengths` [B] tokens long.

        `prefixes` [B, P] int64 are the tokens with which outputs must begin, padded with PAD; P may be 0. `processors`
        and `choose` are those of `calque.search.steps`.
        """
        asked = set_fields(options) | ({PREFIX} if prefixes.shape[1] else set())
        if len(lengths) and choose is None and not processors and asked <= self.honours:
            own = self.branch(options)
            if own is not None:
                return own(source, lengths, prefixes)
        forced = [ForcedPrefix(prefixes)] if prefixes.shape[1] else []
        return search(self.scorer(), source, lengths, options, [*forced, *processors], choose)


def set_fields(options: SearchConfig) -> set[str]:
    """Return the names of the settings that are not at their defaults."""
    fields = type(options).model_fields
    return {name for name, field in fields.items() if getattr(options, name) != field.default}
