"""The `train` section of the recipe."""

from typing import Literal

from pydantic import Field, field_validator

from calque.config import Config, Count, CountOrNone, NumHypotheses
from calque.training.objectives.kinds import ObjectiveConfig
from calque.training.objectives.likelihood import LikelihoodConfig
from calque.training.optimizers.adam import AdamConfig
from calque.training.optimizers.kinds import OptimizerConfig
from calque.training.schedules import Schedule


class TrainConfig(Config):
    """How a model is trained."""

    start_from: str = ""
    """Folder of a model to continue from with other data, with its tokens, parts and weights; empty to start anew."""
    seed: int = Field(1, ge=0, le=2**32 - 1)
    """Seed of weights, data order and dropout."""
    threads: int = Field(2, ge=1, le=1_024)
    """Threads of a CPU run; the machine's cores unless set."""
    parallel: Literal["threads", "processes"] = "threads"
    """What the threads share on a CPU: every product (threads), or the sentences of an update (processes)."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where the model is trained; a GPU is taken when there is one."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the matrix products; bf16 where a probe finds the machine faster with it."""
    batch_tokens: int = Field(4096, ge=1, le=100_000_000)
    """Target tokens of one update, </s> included, padding not."""
    micro_batch_tokens: int = Field(1024, ge=1, le=1_000_000)
    """Target tokens computed at once; an update is made of several such micro-batches."""
    max_updates: CountOrNone = 0
    """Maximum number of updates; 0 sets no limit besides max_epochs."""
    max_epochs: Count = 40
    """Maximum number of passes over the data."""
    time: str = ""
    """Maximum training time, such as 90s, 20m or 1.5h; empty for no limit."""
    objective: ObjectiveConfig = LikelihoodConfig()
    """What training makes small."""
    optimizer: OptimizerConfig = AdamConfig()
    """The optimizer."""
    lr: float = Field(0.001, gt=0, le=100)
    """Highest learning rate."""
    schedule: Schedule = "cosine"
    """How the rate falls after the warm-up."""
    warmup: CountOrNone = 400
    """Updates over which the rate rises to its highest."""
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    """Share of the probability that the objective spreads over the vocabulary."""
    clip: float = Field(1.0, gt=0, le=1e9)
    """Largest norm of the gradient; a larger gradient is scaled down to it."""
    patience: Count = 8
    """Maximum number of validations without a better score."""
    validate_every: Count = 500
    """Updates between validations."""
    save_every: Count = 500
    """Updates between checkpoints."""
    save_minutes: float = Field(10.0, gt=0, le=1e6, allow_inf_nan=False)
    """Minutes between checkpoints, where `save_every` updates take longer."""
    validation_sentences: Count = 1000
    """Sentences of the development set that are translated at a validation."""
    validation_beam: NumHypotheses = 1
    """Beam of the translations at a validation; the final score is taken with search.beam."""

    @field_validator("time", mode="before")
    @classmethod
    def _number_counts_minutes(cls, time: object) -> object:
        return repr(time) if isinstance(time, int | float) and not isinstance(time, bool) else time

    @field_validator("time")
    @classmethod
    def _time_is_readable(cls, time: str) -> str:
        try:
            readable = not time or 0 < (seconds_of(time) or 0) < float("inf")
        except ValueError:
            readable = False
        if not readable:
            raise ValueError("a time such as 90s, 20m or 1.5h is needed")
        return time


def seconds_of(time: str) -> float | None:
    """Return the seconds of `90s`, `20m`, `1.5h` (a bare number counts minutes), or None for no limit."""
    if not time:
        return None
    unit = {"s": 1.0, "m": 60.0, "h": 3600.0}.get(time[-1])
    return float(time[:-1]) * unit if unit else float(time) * 60.0
