"""The training loop, a generator of updates; its caller logs, validates and stops."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

import torch
from torch import nn

from calque.batch import Batch
from calque.data.batches import MicroBatch, plan_epoch
from calque.data.collate import collate
from calque.data.store.token_store import TokenStore
from calque.errors import Diverged
from calque.model import Seq2Seq
from calque.system.signals import Interrupted, Interruption
from calque.training.config import TrainConfig
from calque.training.gradients.here import Gradients, count_tokens
from calque.training.state import Position, RandomState


@dataclass(frozen=True)
class Update:
    """One update: mean loss per target token, learning rate, norm of the gradient, target tokens, seconds."""

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
    interruption: Interruption | None = None,
) -> Iterator[Update]:
    """Train on `batches`, each the micro-batches of one update; yield a record after each update.

    `position` is moved. `rate` returns the learning rate for the number of an update, which is multiplied by the
    `multiplier` of each parameter group (1 by default). Raises Diverged if the loss or the gradient is not finite, and
    Interrupted if `interruption` ends an update early, which is then undone.
    """
    for micro_batches in batches:
        start = time.perf_counter()
        position.step += 1
        position.done += 1
        lr = rate(position.step)
        for group in optimizer.param_groups:
            group["lr"] = lr * group.get("multiplier", 1.0)
        tokens = count_tokens(micro_batches)
        with _undone_if_interrupted(interruption or Interruption(), optimizer, position):
            loss = gradients.accumulate(micro_batches, tokens)
        norm = float(nn.utils.clip_grad_norm_(model.parameters(), config.clip))
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise Diverged(
                f"update {position.step}: the loss is {loss}, the norm of the gradient {norm}."
                f" Lower train.lr (now {config.lr}) or train longer to reach it (train.warmup, now {config.warmup})."
            )
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        yield Update(position.step, position.epoch + 1, loss, lr, norm, tokens, time.perf_counter() - start)


@contextmanager
def _undone_if_interrupted(
    interruption: Interruption, optimizer: torch.optim.Optimizer, position: Position
) -> Iterator[None]:
    """Let a signal end the computation of an update, and then undo its changes."""
    random = RandomState()
    before = random.tensors()
    try:
        with interruption.raising():
            yield
    except Interrupted:
        random.restore(before, {})
        optimizer.zero_grad(set_to_none=True)
        position.step -= 1
        position.done -= 1
        raise


def read_batches(store: TokenStore, config: TrainConfig, position: Position) -> Iterator[list[Batch]]:
    """Yield the micro-batches of each update from `position` on; move `position` to each new epoch."""
    while position.epoch < config.max_epochs:
        for micro_batches in islice(_plan(store, config, position.epoch), position.done, None):
            yield [collate(store, micro_batch) for micro_batch in micro_batches]
        position.epoch += 1
        position.done = 0


def count_updates(store: TokenStore, config: TrainConfig) -> int:
    """Return the number of updates of the whole run: that of `max_epochs`, or `max_updates` if it is lower."""
    first = sum(1 for _ in _plan(store, config, 0))
    return min(first * config.max_epochs, config.max_updates or first * config.max_epochs)


def _plan(store: TokenStore, config: TrainConfig, epoch: int) -> Iterator[list[MicroBatch]]:
    sizes = config.batch_tokens, config.micro_batch_tokens, math.ceil(config.batch_total_ratio * config.batch_tokens)
    return plan_epoch(store, config.seed, epoch, *sizes)
