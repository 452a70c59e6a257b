"""The engine for every model: search over the model itself, operation by operation."""

from calque.engines.engine import Engine
from calque.search.scorer import Scorer


class Eager(Engine):
    """Search with a scorer: a model, an ensemble, or fused steps."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    def scorer(self) -> Scorer:
        """Return the scorer."""
        return self._scorer
