"""Adam and AdamW (Kingma & Ba 2015; Loshchilov & Hutter 2019)."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from pydantic import Field
from torch import nn

from calque.config import Config
from calque.training.optimizers.optimizer import Optimizer


class AdamConfig(Config):
    """Kingma & Ba 2015."""

    kind: Literal["adam"] = "adam"
    """The optimizer."""
    beta1: float = Field(0.9, ge=0, lt=1)
    """Decay of the mean of gradients."""
    beta2: float = Field(0.98, ge=0, lt=1)
    """Decay of the mean of squared gradients."""
    epsilon: float = Field(1e-8, ge=1e-30, le=1)
    """Added to the denominator."""

    def build(self, parameters: Iterable[nn.Parameter], lr: float) -> Optimizer:
        """Build the optimizer of the parameters that are trained."""
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        betas = (self.beta1, self.beta2)
        return Adam(trained, lr=lr, betas=betas, eps=self.epsilon, weight_decay=0.0, fused=True)


class AdamWConfig(AdamConfig):
    """Loshchilov & Hutter 2019: Adam with decoupled weight decay, on matrices only."""

    kind: Literal["adamw"] = "adamw"  # type: ignore[assignment]
    """The optimizer."""
    weight_decay: float = Field(0.01, ge=0, le=10)
    """Share of each matrix taken away an update, times the learning rate."""

    def build(self, parameters: Iterable[nn.Parameter], lr: float) -> Optimizer:
        """Build the optimizer; biases, norms and other vectors are never decayed."""
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        groups = [
            {"params": [parameter for parameter in trained if parameter.dim() > 1], "weight_decay": self.weight_decay},
            {"params": [parameter for parameter in trained if parameter.dim() < 2], "weight_decay": 0.0},
        ]
        return Adam(groups, lr=lr, betas=(self.beta1, self.beta2), eps=self.epsilon, fused=True)


class Adam(Optimizer, torch.optim.AdamW):
    """Torch's Adam and AdamW, which are one where nothing decays, without an import of torch's compiler."""

    _plain_step: Callable[..., Any] = inspect.unwrap(torch.optim.AdamW.step)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Make one update; a closure, of which torch allows one, is not taken."""
        assert closure is None
        self._plain_step()
