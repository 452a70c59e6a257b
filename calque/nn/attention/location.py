"""Location-sensitive attention (Chorowski et al. 2015): additive attention whose scores depend on earlier weights.

The scoring network also reads a convolution of the last step's weights, or of the sum of all weights so far.
"""

from typing import Literal

from pydantic import Field
from torch import Tensor

from calque.errors import UsageError
from calque.nn.attention.additive import AdditiveAttention, AdditiveOptions
from calque.nn.attention.attention import Attention, AttentionContext, History
from calque.nn.typed import Conv1d, Linear


class LocationAttentionConfig(AdditiveOptions):
    """Score by a small network of query, memory and a convolution of earlier weights."""

    kind: Literal["location"] = "location"
    """Location-sensitive attention: additive attention that also reads earlier weights (Chorowski et al. 2015)."""
    filters: int = Field(default=10, ge=1, le=4_096)
    """Number of filters of the convolution."""
    kernel: int = Field(default=31, ge=1, le=1_023)
    """Width of a filter in positions; an odd number."""
    cumulative: bool = False
    """Convolve the sum of all weights so far instead of the last step's weights."""

    def build(self, query_width: int, memory_width: int) -> Attention:
        """Build the attention; UsageError for an even kernel."""
        if self.kernel % 2 == 0:
            raise UsageError(
                f"model.decoder.attention.kernel must be odd, for as many positions on each side; it is {self.kernel};"
                f" set it to {self.kernel + 1}"
            )
        return LocationAttention(self, query_width, memory_width)


class LocationAttention(AdditiveAttention):
    """Score by v · tanh(W query + U memory + P f), where f is the convolution of earlier weights."""

    def __init__(self, config: LocationAttentionConfig, query_width: int, memory_width: int) -> None:
        super().__init__(config, query_width, memory_width, uses_history=True)
        self.cumulative = config.cumulative
        self.filters = Conv1d(1, config.filters, config.kernel, padding=config.kernel // 2, bias=False)
        self.location = Linear(config.filters, self.energy.shape[0], bias=False)

    def units(self, query: Tensor, context: AttentionContext, history: History | None) -> Tensor:
        """Return the argument [B, Q, S, A] of tanh."""
        assert history is not None, "location needs a history"
        before = history.total if self.cumulative else history.last
        # [B, Q, S] -> [B · Q, 1, S] -> [B · Q, F, S] -> [B, Q, S, F]; padding has a weight of 0
        seen = self.filters(before.flatten(0, 1).unsqueeze(1)).transpose(1, 2).unflatten(0, before.shape[:2])
        return super().units(query, context, history) + self.location(seen)
