"""Hierarchical attention over several sources (Libovický & Helcl 2017): within each source, then over the sources.

The first attention computes a vector for each source, the second one weights these vectors.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from calque.config import WidthOrAuto
from calque.errors import UsageError
from calque.nn.attention.additive import AdditiveAttentionConfig
from calque.nn.attention.attention import Attention, AttentionContext, AttentionOptions, History
from calque.nn.attention.dot import DotAttentionConfig, GeneralAttentionConfig, ScaledDotAttentionConfig
from calque.nn.parts import Memory
from calque.nn.typed import Linear, ModuleList

WITHIN = {
    "dot": DotAttentionConfig,
    "scaled_dot": ScaledDotAttentionConfig,
    "general": GeneralAttentionConfig,
    "additive": AdditiveAttentionConfig,
}


class HierarchicalAttentionConfig(AttentionOptions):
    """Attend within each source, then over the sources; for model.encoder.kind = several."""

    kind: Literal["hierarchical"] = "hierarchical"
    """Hierarchical attention: within each source, then over the sources; needs model.encoder.kind = several."""
    within: Literal["dot", "scaled_dot", "general", "additive"] = "general"
    """Attention within a source."""
    sources: int = Field(default=2, ge=2, le=64)
    """Number of sources."""
    width: WidthOrAuto = 0
    """Units of the network that scores the sources; 0: the decoder's width."""

    def build(self, query_width: int, memory_width: int) -> Attention:
        """Build the attention."""
        return HierarchicalAttention(self, query_width, memory_width)


@dataclass(frozen=True)
class HierarchicalContext(AttentionContext):
    """A context with the number of each position's source: `segment` [B, S]."""

    segment: Tensor


class HierarchicalAttention(Attention):
    """Mix c_k = Σ α h within each source k, then Σ β_k V_k c_k, where β comes from v · tanh(W query + U_k c_k)."""

    def __init__(self, config: HierarchicalAttentionConfig, query_width: int, memory_width: int) -> None:
        super().__init__(config)
        options = config.model_dump(include=set(AttentionOptions.model_fields))
        self.within = WITHIN[config.within].model_validate(options).build(query_width, memory_width)
        width = config.width or query_width
        self.query = Linear(query_width, width)
        self.source_keys = ModuleList(Linear(memory_width, width, bias=False) for _ in range(config.sources))
        self.source_values = ModuleList(Linear(memory_width, memory_width, bias=False) for _ in range(config.sources))
        self.energy = nn.Parameter(torch.empty(width).uniform_(-(width**-0.5), width**-0.5))

    def start(self, memory: Memory) -> HierarchicalContext:
        """Return the projected memory; UsageError for a memory of one source."""
        if memory.segment is None:
            raise UsageError(
                "model.decoder.attention: hierarchical needs an encoder for each of several sources; set"
                " model.encoder.kind = several, or model.decoder.attention.kind = general"
            )
        return HierarchicalContext(self.within.keys(memory.states), memory.states, memory.mask, memory.segment)

    def forward(
        self, query: Tensor, context: AttentionContext, history: History | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return (mixed memory [B, Q, D], weights [B, Q, S]); the weights of source k sum to β_k."""
        assert isinstance(context, HierarchicalContext)
        scores = self.within.score(query, context, history)
        units = self.query(query)
        weights, mixed, energies = [], [], []
        for number, (key, value) in enumerate(zip(self.source_keys, self.source_values, strict=True)):
            inside = context.mask & (context.segment == number)
            weights.append(self.normalise(scores.masked_fill(~inside.unsqueeze(1), float("-inf"))))
            vector = weights[-1].to(context.values.dtype) @ context.values
            energies.append(torch.tanh(units + key(vector)) @ self.energy)
            mixed.append(value(vector))
        # K tensors [B, Q] -> [K, B, Q, 1]
        shares = torch.stack(energies).softmax(dim=0).unsqueeze(-1)
        return (shares * torch.stack(mixed)).sum(dim=0), (shares * torch.stack(weights)).sum(dim=0)
