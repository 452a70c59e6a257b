"""The `search` section of the recipe: the search for outputs of a trained model."""

from typing import Literal

from pydantic import Field, ValidationError, model_validator

from calque.config import Config, NumHypotheses, reasons
from calque.errors import UsageError

# The largest ratio that is derived from data. Beyond it outputs get a length that does not depend on the source, since
# the usual beam would be refused as too slow.
MAX_DEFAULT_RATIO, FIXED_RATIO, FIXED_LENGTH = 90, 50, 400


class SearchConfig(Config):
    """Settings of the search: its width, the length of outputs and how they are ranked."""

    beam: NumHypotheses = 5
    """Hypotheses kept for each sentence; 1 is greedy search."""

    n_best: NumHypotheses = 1
    """Outputs returned for each sentence, best first; at most `beam`."""

    max_length_ratio: float = Field(default=2.0, ge=0, le=1_000)
    """Longest output, in tokens for each source token; `max_length_extra` is added."""

    max_length_extra: int = Field(default=20, ge=0, le=10_000)
    """Tokens that an output may have beyond `max_length_ratio` × source length."""

    min_length: int = Field(default=0, ge=0, le=10_000)
    """Shortest output in tokens, without </s>."""

    length_penalty: float = Field(default=1.0, ge=-8, le=8)
    """The exponent α of `normalisation`: 0 ranks by plain sums, larger values favour longer outputs."""

    normalisation: Literal["average", "gnmt", "none"] = "average"
    """Divide the sum of log-probabilities by length^α (average), ((5 + length) / 6)^α (gnmt) or nothing (none)."""

    no_repeat_ngram: int = Field(default=0, ge=0, le=1_000)
    """Length of the sequences of tokens that may not occur twice in an output; 0 allows all."""

    unknown: bool = True
    """Whether <unk> may be produced."""

    @model_validator(mode="after")
    def _n_best_fits(self) -> "SearchConfig":
        if self.n_best > self.beam:
            raise ValueError(
                f"n_best must be at most beam, but n_best is {self.n_best} and beam is {self.beam}: "
                f"set beam to {self.n_best} or more, or n_best to {self.beam} or less"
            )
        return self

    def widened(self, beam: int | None, n_best: int | None) -> "SearchConfig":
        """Return the settings with another beam or number of outputs; UsageError for impossible values."""
        ranked = self.n_best if n_best is None else n_best
        wide = self.beam if n_best is None or not isinstance(n_best, int) else max(self.beam, n_best)
        values = self.model_dump() | {"n_best": ranked, "beam": wide if beam is None else beam}
        try:
            return SearchConfig.model_validate(values, strict=True)
        except ValidationError as error:
            raise UsageError("\n".join(reasons(error, SearchConfig, values))) from None
