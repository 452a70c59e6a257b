"""The simpler simple recurrent unit in place of self-attention (Kim et al. 2019, "From research to production and
back"): its products are computed for all positions at once, and its state is one vector per row.
"""

from typing import Literal

import torch
from torch import Tensor

from calque.config import Config
from calque.nn.init import glorot
from calque.nn.transformer.config import TransformerConfig
from calque.nn.transformer.mixer import Mixer, Sight
from calque.nn.typed import Linear


class SsruConfig(Config):
    """Use a simpler simple recurrent unit instead of self-attention."""

    kind: Literal["ssru"] = "ssru"
    """Simpler simple recurrent unit, whose steps are faster than self-attention (Kim et al. 2019)."""

    def build(self, config: TransformerConfig) -> Mixer:
        """Build the mixer of a layer."""
        return Ssru(config.width)


class Ssru(Mixer):
    """Return ReLU(c_t) of the cell c_t = f_t · c_{t−1} + (1 − f_t) · W x_t, where f_t = σ(W_f x_t + b_f)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.forget = Linear(width, width)
        self.value = Linear(width, width, bias=False)
        glorot(self.forget)
        glorot(self.value)

    def mix(self, values: Tensor, sight: Sight) -> Tensor:
        """Map [B, T, D] to [B, T, D]; only the sums are computed position by position."""
        forgets, news = self._project(values)
        cell = torch.zeros_like(values[:, 0])
        cells = []
        for forget, new in zip(forgets.unbind(1), news.unbind(1), strict=True):
            cell = torch.lerp(new, cell, forget)
            cells.append(cell)
        return torch.relu(torch.stack(cells, dim=1))

    def start(self, like: Tensor) -> Tensor:
        """Return empty cells [R, D]."""
        return like.new_zeros(like.shape[0], self.value.out_features)

    def step(self, values: Tensor, state: Tensor, sight: Sight) -> tuple[Tensor, Tensor]:
        """Map one position per row [R, 1, D]."""
        forget, new = self._project(values.squeeze(1))
        cell = torch.lerp(new, state, forget)
        return torch.relu(cell).unsqueeze(1), cell

    def _project(self, values: Tensor) -> tuple[Tensor, Tensor]:
        # In the type of the input: a cell in bf16 would lose small changes over a sentence.
        return torch.sigmoid(self.forget(values)).type_as(values), self.value(values).type_as(values)
