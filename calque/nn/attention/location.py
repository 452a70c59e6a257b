"""Location-sensitive attention (Chorowski et al. 2015): the additive score also sees where the decoder looked before.

A convolution over the last step's weights, or over the sum of all so far, enters the scoring network.
"""

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from calque.errors import UsageError
from calque.nn.attention.additive import AdditiveAttention, AdditiveAttentionConfig
from calque.nn.attention.attention import Attention, AttentionContext, History


class LocationAttentionConfig(AdditiveAttentionConfig):
    """Score by a small network over query, memory and a convolution of the weights given before."""

    kind: Literal["location"] = "location"  # type: ignore[assignment]
    """The attention."""
    filters: int = Field(default=10, ge=1, le=4_096)
    """Filters of the convolution."""
    kernel: int = Field(default=31, ge=1, le=1_023)
    """Positions that a filter spans: an odd number, as many on each side."""
    cumulative: bool = False
    """Convolve the sum of all weights so far instead of the last step's."""

    def build(self, query_width: int, memory_width: int) -> Attention:
        """Build the attention; UsageError for an even kernel."""
        if self.kernel % 2 == 0:
            raise UsageError(
                f"model.decoder.attention.kernel must be odd, to span as many positions on each side; it is"
                f" {self.kernel}: take {self.kernel + 1}"
            )
        return LocationAttention(self, query_width, memory_width)


class LocationAttention(AdditiveAttention):
    """Score by v · tanh(W query + U memory + P f), where f is F convolved with the weights given before."""

    def __init__(self, config: LocationAttentionConfig, query_width: int, memory_width: int) -> None:
        super().__init__(config, query_width, memory_width, uses_history=True)
        self.cumulative = config.cumulative
        self.filters = nn.Conv1d(1, config.filters, config.kernel, padding=config.kernel // 2, bias=False)
        self.location = nn.Linear(config.filters, self.energy.shape[0], bias=False)

    def units(self, query: Tensor, context: AttentionContext, history: History | None) -> Tensor:
        """Return what goes into the tanh [B, Q, S, A]."""
        assert history is not None, "location needs a history"
        before = history.total if self.cumulative else history.last
        # [B, Q, S] -> [B · Q, 1, S] -> [B · Q, F, S] -> [B, Q, S, F]; padding, at the end, has no weight
        seen = self.filters(before.flatten(0, 1).unsqueeze(1)).transpose(1, 2).unflatten(0, before.shape[:2])
        return super().units(query, context, history) + self.location(seen)  # type: ignore[no-any-return]
