"""Optimizers, parameter groups and learning-rate schedules; a schedule is a pure function of the update's number."""

import math
from collections.abc import Iterable
from typing import Literal

import torch
from torch import nn

from calque.config import Config


class AdamConfig(Config):
    """Kingma & Ba 2015."""

    kind: Literal["adam"] = "adam"
    """The optimizer."""
    beta1: float = 0.9
    """Decay of the mean of gradients."""
    beta2: float = 0.98
    """Decay of the mean of squared gradients."""
    epsilon: float = 1e-8
    """Added to the denominator."""


class AdamWConfig(AdamConfig):
    """Loshchilov & Hutter 2019: Adam with decoupled weight decay, on matrices only."""

    kind: Literal["adamw"] = "adamw"  # type: ignore[assignment]
    """The optimizer."""
    weight_decay: float = 0.01
    """Share of each matrix taken away an update, times the learning rate."""


Schedule = Literal["constant", "inverse_sqrt", "cosine"]


def build_optimizer(
    config: AdamConfig | AdamWConfig, parameters: Iterable[nn.Parameter], lr: float
) -> torch.optim.Adam:
    """Build the optimizer; biases, norms and other vectors are never decayed."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    betas = (config.beta1, config.beta2)
    if not isinstance(config, AdamWConfig):
        return torch.optim.Adam(trained, lr=lr, betas=betas, eps=config.epsilon, fused=True)
    groups = [
        {"params": [parameter for parameter in trained if parameter.dim() > 1], "weight_decay": config.weight_decay},
        {"params": [parameter for parameter in trained if parameter.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr, betas=betas, eps=config.epsilon, fused=True)


def learning_rate(schedule: Schedule, peak: float, warmup: int, update: int, num_updates: int) -> float:
    """Return the rate of `update` (from 1): a linear warm-up to `peak`, then the schedule's fall.

    Cosine reaches 2 % of the peak at `num_updates` and stays there.
    """
    if update <= warmup:
        return peak * update / warmup
    match schedule:
        case "constant":
            return peak
        case "inverse_sqrt":
            return peak * math.sqrt(max(1, warmup) / update)
        case "cosine":
            share = min(1.0, (update - warmup) / max(1, num_updates - warmup))
            return peak * (0.02 + 0.98 * (1 + math.cos(math.pi * share)) / 2)
