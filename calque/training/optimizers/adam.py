"""Adam and AdamW (Kingma & Ba 2015; Loshchilov & Hutter 2019)."""

import inspect
from collections.abc import Callable, Iterable
from typing import Literal

import torch
from pydantic import Field
from torch import nn

from calque.config import Config
from calque.training.optimizers.optimizer import Optimizer


class AdamOptions(Config):
    """Base of the configs of Adam and AdamW."""

    kind: str
    """The optimizer."""
    beta1: float = Field(0.9, ge=0, lt=1)
    """Decay rate of the moving average of gradients."""
    beta2: float = Field(0.98, ge=0, lt=1)
    """Decay rate of the moving average of squared gradients."""
    epsilon: float = Field(1e-8, ge=1e-30, le=1)
    """Number added to the denominator."""


class AdamConfig(AdamOptions):
    """Kingma & Ba 2015."""

    kind: Literal["adam"] = "adam"
    """Adam (Kingma & Ba 2015)."""

    def build(self, parameters: Iterable[nn.Parameter], lr: float) -> Optimizer:
        """Build the optimizer of the trainable parameters."""
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        betas = (self.beta1, self.beta2)
        return Adam(trained, lr=lr, betas=betas, eps=self.epsilon, weight_decay=0.0, fused=True)


class AdamWConfig(AdamOptions):
    """Loshchilov & Hutter 2019: Adam with decoupled weight decay, on matrices only."""

    kind: Literal["adamw"] = "adamw"
    """AdamW, which is Adam with decoupled weight decay of matrices (Loshchilov & Hutter 2019)."""
    weight_decay: float = Field(0.01, ge=0, le=10)
    """Decay of matrices, which each update multiplies by 1 − learning rate · weight_decay."""

    def build(self, parameters: Iterable[nn.Parameter], lr: float) -> Optimizer:
        """Build the optimizer; biases, norms and other vectors do not decay."""
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        groups = [
            {"params": [parameter for parameter in trained if parameter.dim() > 1], "weight_decay": self.weight_decay},
            {"params": [parameter for parameter in trained if parameter.dim() < 2], "weight_decay": 0.0},
        ]
        return Adam(groups, lr=lr, betas=(self.beta1, self.beta2), eps=self.epsilon, fused=True)


class Adam(Optimizer, torch.optim.AdamW):
    """Torch's AdamW, which without decay is Adam, without an import of torch's compiler."""

    _plain_step: Callable[..., object] = inspect.unwrap(torch.optim.AdamW.step)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # torch allows a closure
        """Update the parameters; unlike torch's, this method accepts no closure."""
        assert closure is None
        self._plain_step()
