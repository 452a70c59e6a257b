"""The training loop as a generator: it computes one update after the other, its caller logs, validates and stops.

Count first, then divide: the target tokens of all pieces of an update are summed before any loss is divided.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import islice

import torch
from torch import nn

from calque import rows
from calque.batch import Batch
from calque.data.batches import plan_epoch
from calque.data.collate import collate
from calque.data.store.token_store import TokenStore
from calque.errors import Diverged
from calque.model import Seq2Seq
from calque.nn.objectives import Objective
from calque.training.config import TrainConfig
from calque.training.state import Position

# From the pieces of an update to its mean loss a target token and its tokens; the gradients of all pieces are added.
Gradients = Callable[[Sequence[Batch]], tuple[float, int]]


@dataclass(frozen=True)
class Update:
    """Record one update: mean loss a target token, learning rate, norm of the gradient, target tokens, seconds."""

    step: int
    epoch: int
    loss: float
    lr: float
    grad_norm: float
    tokens: int
    seconds: float


def updates(
    model: Seq2Seq,
    optimizer: torch.optim.Optimizer,
    batches: Iterator[list[Batch]],
    gradients: Gradients,
    rate: Callable[[int], float],
    config: TrainConfig,
    position: Position,
) -> Iterator[Update]:
    """Train on `batches`, the pieces of one update each, and yield a record after each; `position` moves along.

    `rate` gives the learning rate of an update's number. Raises Diverged when loss or gradient is not finite.
    """
    for pieces in batches:
        start = time.perf_counter()
        position.step += 1
        position.done += 1
        lr = rate(position.step)
        for group in optimizer.param_groups:
            group["lr"] = lr
        loss, tokens = gradients(pieces)
        norm = float(nn.utils.clip_grad_norm_(model.parameters(), config.clip))
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise Diverged(
                f"update {position.step}: the loss is {loss}, the norm of the gradient {norm}."
                f" Lower train.lr (now {config.lr}) or train longer to reach it (train.warmup, now {config.warmup})."
            )
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        yield Update(position.step, position.epoch + 1, loss, lr, norm, tokens, time.perf_counter() - start)


def gradients_here(model: Seq2Seq, objective: Objective, config: TrainConfig) -> Gradients:
    """Return what computes the gradients of an update in this process."""

    def gradients(pieces: Sequence[Batch]) -> tuple[float, int]:
        tokens = count_tokens(pieces)
        return accumulate(model, pieces, tokens, objective, config), tokens

    return gradients


def count_tokens(pieces: Sequence[Batch]) -> int:
    """Return the target tokens of all pieces, padding not counted."""
    return sum(int(piece.target.mask.sum()) for piece in pieces)


def accumulate(
    model: Seq2Seq, pieces: Sequence[Batch], tokens: int, objective: Objective, config: TrainConfig
) -> float:
    """Add the gradients of some pieces of an update of `tokens`; return their share of its mean loss."""
    model.train()
    total = 0.0
    for piece in pieces:
        with arithmetic(config):
            loss = model(rows.to(piece, config.device), objective).sum() / tokens
        loss.backward()
        total += float(loss.detach())
    return total


def read_batches(store: TokenStore, config: TrainConfig, position: Position) -> Iterator[list[Batch]]:
    """Yield the pieces of each update from `position` on, epoch after epoch; `position` moves to each new epoch."""
    while position.epoch < config.max_epochs:
        plan = plan_epoch(store, config.seed, position.epoch, config.batch_tokens, config.piece_tokens)
        for pieces in islice(plan, position.done, None):
            yield [collate(store, piece) for piece in pieces]
        position.epoch += 1
        position.done = 0


def count_updates(store: TokenStore, config: TrainConfig) -> int:
    """Return the updates of the whole run: those of `max_epochs`, or `max_updates` where that is less."""
    first = sum(1 for _ in plan_epoch(store, config.seed, 0, config.batch_tokens, config.piece_tokens))
    return min(first * config.max_epochs, config.max_updates or first * config.max_epochs)


def arithmetic(config: TrainConfig) -> AbstractContextManager[object]:
    """Return the context in which matrix products run in the recipe's precision."""
    if config.precision == "bf16":
        return torch.autocast(config.device, dtype=torch.bfloat16)
    return nullcontext()
