"""A run, which calls the generator of updates, logs, validates, saves, stops and resumes."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from calque.config import JsonObject
from calque.data.store.token_store import TokenStore
from calque.engines.engine import Engine
from calque.errors import ResourceError
from calque.folder.best import best_hashes, check_best, note_checkpoint, save_best
from calque.folder.checkpoint import load_checkpoint, save_checkpoint
from calque.folder.journal import Journal, SilentJournal
from calque.model import Seq2Seq
from calque.predict.predictor import Predictor
from calque.report.progress import Display, SilentDisplay, UpdateEvent, ValidEvent
from calque.report.time_left import TimeLeft
from calque.system.memory import freed_memory_kept
from calque.system.signals import Interrupted, Interruption
from calque.training.config import TrainConfig, seconds_of
from calque.training.gradients.forked import gradients_shared
from calque.training.gradients.here import Gradients
from calque.training.gradients.ranks import Ranks, over_ranks
from calque.training.objectives.objective import Learner
from calque.training.schedules import learning_rate
from calque.training.state import (
    MODEL,
    Completion,
    Elapsed,
    ModelState,
    OptimizerState,
    Patience,
    Position,
    RandomState,
    Stateful,
    put_back,
    take,
)
from calque.training.updates import Update, count_updates, read_batches, updates
from calque.training.validation import Development, Validation, validate

TIMING_EVERY = 10.0
MOST_FAILED_SAVES = 3


@dataclass
class Outcome:
    """The end of a run: its reason, the last update, the best validation, and the signal that ended it, or 0."""

    reason: str
    step: int
    best_step: int
    best_score: float | None
    signal: int = 0


@dataclass
class Run:
    """One run.

    `predictor` shares the model and translates in validations, with the engine of its current weights that
    `make_engine` returns together with a description. The first of `ranks` validates, writes the files and decides when
    the run ends; the others only compute their share of each update.
    """

    folder: Path
    config: TrainConfig
    model: Seq2Seq
    store: TokenStore
    dev: Development
    predictor: Predictor
    make_engine: Callable[[], tuple[Engine, str]]
    display: Display
    ranks: Ranks = field(default_factory=Ranks)
    position: Position = field(default_factory=Position)
    patience: Patience = field(default_factory=Patience)
    elapsed: Elapsed = field(default_factory=Elapsed)
    completion: Completion = field(default_factory=Completion)

    def __post_init__(self) -> None:
        if not self.ranks.is_first:
            self.display = SilentDisplay()
        self.learner = Learner(self.model, self.config.objective.build(self.config.label_smoothing))
        self.optimizer = self.config.optimizer.build(self.model.parameters(), self.config.lr)
        self.parts: dict[str, Stateful] = {
            MODEL: ModelState(self.model),
            "optimizer": OptimizerState(self.optimizer),
            "position": self.position,
            "random": RandomState(),
            "patience": self.patience,
            "elapsed": self.elapsed,
            "ending": self.completion,
        }
        self.num_updates = count_updates(self.store, self.config)
        self.clock = TimeLeft(self.num_updates, self.config.validate_every)
        self.last_timing = 0.0
        self.marks: dict[str, JsonObject] = {}
        self.is_unvalidated, self.validated, self.failed_saves = False, 0, 0
        self.engine_said = self.predictor.engine_said

    def resume(self) -> bool:
        """Restore the last checkpoint; return whether there was one."""
        found = load_checkpoint(self.folder, self.display.note)
        if found is None:
            return False
        name, snapshot = found
        put_back(self.parts, snapshot)
        self.marks = snapshot.state.get("journals", {})
        self.is_unvalidated = snapshot.state.get("unvalidated", False)
        check_best(self.folder, self.patience.best_score is not None, snapshot.state.get("best"))
        self.display.note(f"resumed from {name}")
        return True

    def train(self, interruption: Interruption) -> Outcome:
        """Train until a limit of the recipe is reached or a signal is received.

        A signal ends a validation, or the computation of an update, within a second. The checkpoint is then that of the
        last complete update, and a validation that was not finished is repeated first when the run continues.
        """
        if self._is_trained() and not self.is_unvalidated:
            # The report is made from the journal, so it must be undamaged, which opening it checks.
            self._journal("metrics.jsonl").__exit__()
            return self._stopped(self.completion.reason or f"reached {self.position.step:,} updates", 0)
        with (
            self._journal("metrics.jsonl") as metrics,
            self._journal("timing.jsonl") as timing,
            freed_memory_kept(),
            gradients_shared(self.learner, self.config) as own,
        ):
            gradients = over_ranks(own, self.optimized, self.ranks)
            mark = saved = time.monotonic()
            try:
                outcome = self._validated_before(metrics, interruption)
                for update in () if outcome else self._updates(gradients, interruption):
                    self._log(update, metrics, timing)
                    if update.step % self.config.validate_every == 0:
                        self._validate(metrics, interruption)
                    now = time.monotonic()
                    self.elapsed.seconds += now - mark
                    mark = now
                    if outcome := self._stop_here(interruption, metrics):
                        break
                    if update.step % self.config.save_every == 0 or now - saved >= 60 * self.config.save_minutes:
                        self._save_or_retry(metrics)
                        saved = time.monotonic()
                outcome = outcome or self._complete(f"reached {self.config.max_epochs} epochs", metrics, interruption)
            except Interrupted as interrupted:
                outcome = self._stopped("interrupted", interrupted.number)
            self._save(metrics)
        return outcome

    def _validated_before(self, metrics: Journal, interruption: Interruption) -> Outcome | None:
        """Repeat a validation that a signal ended; return the outcome if the run ends afterwards."""
        if not self.is_unvalidated:
            return None
        self._validate(metrics, interruption)
        return self._stop_here(interruption, metrics)

    @property
    def optimized(self) -> list[nn.Parameter]:
        """Return the parameters that the optimizer changes."""
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]

    def _journal(self, name: str) -> Journal:
        return (
            Journal(self.folder / name, self.position.step, self.marks.get(name.removesuffix(".jsonl")))
            if self.ranks.is_first
            else SilentJournal()
        )

    def _updates(self, gradients: Gradients, interruption: Interruption) -> Iterator[Update]:
        config = self.config

        def rate(step: int) -> float:
            return learning_rate(config.schedule, config.lr, config.warmup, step, self.num_updates)

        batches = read_batches(self.store, config, self.position)
        return updates(self.model, self.optimizer, batches, gradients, rate, config, self.position, interruption)

    def _stop_here(self, interruption: Interruption, metrics: Journal) -> Outcome | None:
        """Return the outcome if the run ends after this update, else None."""
        reason = self._reason_to_stop() if self.ranks.is_first else ""
        is_complete, signal = self.ranks.agree(bool(reason), interruption.signal)
        # A run is complete after its last update even if a signal came with it.
        if is_complete:
            return self._complete(reason, metrics, interruption)
        return self._stopped("interrupted", signal) if signal else None

    def _reason_to_stop(self) -> str:
        """Return a description of the limit that this update has reached, or an empty string."""
        step, since = self.position.step, self.patience.since
        if 0 < self.config.max_updates <= step:
            return f"reached {step:,} updates"
        if since >= self.config.patience:
            return f"no better score in {since} validations"
        limit = seconds_of(self.config.time)
        if limit is not None and self.elapsed.seconds >= limit:
            return f"reached the time limit of {self.config.time}"
        return ""

    def _complete(self, reason: str, metrics: Journal, interruption: Interruption) -> Outcome:
        """Complete the run: validate the last weights, and record the reason for the next checkpoint."""
        if self.validated != self.position.step and self.position.step % self.config.validate_every:
            self._validate(metrics, interruption)
        self.completion.reason, self.completion.limits = reason, self._limits()
        return self._stopped(reason, 0)

    def _is_trained(self) -> bool:
        """Return whether the run has reached its limits, as when it was killed after its last update."""
        ended = bool(self.completion.reason) and self.completion.limits == self._limits()
        return ended or 0 < self.config.max_updates <= self.position.step

    def _limits(self) -> list[str | int]:
        return [self.config.max_updates, self.config.max_epochs, self.config.time]

    def _stopped(self, reason: str, signal: int) -> Outcome:
        return Outcome(reason, self.position.step, self.patience.best_step, self.patience.best_score, signal)

    def _log(self, update: Update, metrics: Journal, timing: Journal) -> None:
        row = {"kind": "train", "step": update.step, "epoch": update.epoch, "loss": update.loss, "lr": update.lr}
        metrics.write(row | {"grad_norm": update.grad_norm, "tokens": update.tokens})
        now = time.monotonic()
        rate = update.tokens / update.seconds
        best = "" if self.patience.best_score is None else self._best_text()
        left, limit = self.clock.updated(update.step, now), seconds_of(self.config.time)
        if left is not None and limit is not None:
            left = min(left, max(0.0, limit - self.elapsed.seconds))
        event = UpdateEvent(update.step, self.num_updates, update.epoch, update.loss, update.lr, rate, best, left)
        self.display.update(event)
        if now - self.last_timing >= TIMING_EVERY:
            self.last_timing = now
            timing.write({"step": update.step, "seconds": update.seconds, "tokens_per_second": rate})

    def _best_text(self) -> str:
        first = self.dev.metrics[0]
        best = self.patience.best_score or 0.0
        return f"{first.name} {best if first.higher_is_better else -best:.2f}"

    def _validate(self, metrics: Journal, interruption: Interruption) -> None:
        """Score the weights that answer, and save them if they are the best; only the first rank does so."""
        if not self.ranks.is_first:
            return
        start = time.monotonic()
        self.is_unvalidated = True
        with self.optimizer.answering_weights():
            with interruption.raising():
                result = self._score()
            self._judge(result, metrics)
        self.is_unvalidated, self.validated = False, self.position.step
        self.clock.paused(time.monotonic() - start)

    def _judge(self, result: Validation, metrics: Journal) -> None:
        first = self.dev.metrics[0]
        score = result.scores[first.name] * (1 if first.higher_is_better else -1)
        is_best = self.patience.judge(self.position.step, score, result.loss)
        if is_best:
            save_best(self.folder, self.parts[MODEL].tensors())
        row = {"kind": "valid", "step": self.position.step, "loss": result.loss, "scores": result.scores}
        metrics.write(row | {"best": is_best, "samples": result.samples})
        sample = result.samples[self.position.step // self.config.validate_every % len(result.samples)]
        event = ValidEvent(self.position.step, result.loss, result.scores, is_best, **sample)
        self.display.validated(event)

    def _score(self) -> Validation:
        """Validate with an engine of the current weights, whose memory is freed afterwards."""
        engine, said = self.make_engine()
        if said != self.engine_said:
            self.display.note(f"validations search by {said}")
        self.engine_said = said
        return validate(self.predictor.with_engine(engine, said), self.dev, self.config)

    def _save_or_retry(self, metrics: Journal) -> None:
        """Save a checkpoint; raise the error of a full disk only at the third failure in a row."""
        try:
            self._save(metrics)
        except ResourceError as error:
            self.failed_saves += 1
            if self.failed_saves == MOST_FAILED_SAVES:
                raise
            reason = str(error).splitlines()[0]
            self.display.note(f"{reason} The last checkpoint is intact; training continues and will try again")
        else:
            self.failed_saves = 0

    def _save(self, metrics: Journal) -> None:
        """Save a checkpoint after the journal that it refers to has been written to disk."""
        if not self.ranks.is_first:
            return
        start = time.monotonic()
        snapshot = take(self.parts)
        snapshot.state["journals"] = {"metrics": metrics.mark()}
        snapshot.state["unvalidated"] = self.is_unvalidated
        snapshot.state["best"] = best_hashes(self.folder)
        save_checkpoint(self.folder, self.position.step, snapshot)
        note_checkpoint(self.folder)
        self.clock.paused(time.monotonic() - start)
