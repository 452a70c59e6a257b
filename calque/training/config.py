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
    """The fields of training."""

    start_from: str = ""
    """Folder of a model whose tokens, parts and weights the run starts with; empty: a new model."""
    seed: int = Field(1, ge=0, le=2**32 - 1)
    """Seed of initial weights, data order and dropout."""
    threads: int = Field(2, ge=1, le=1_024)
    """CPU threads; by default the number of cores."""
    parallel: Literal["threads", "processes"] = "threads"
    """How an update uses several CPU cores: threads split every operation, processes split the sentences."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Device of the model, cpu or cuda; by default the GPU, if there is one."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Type of matrix products, fp32 or bf16; by default bf16 if a probe finds it faster on the machine."""
    batch_tokens: int = Field(4096, ge=1, le=100_000_000)
    """Target tokens per update, including </s>, excluding padding."""
    batch_total_ratio: float = Field(0.0, ge=0, le=1e6)
    """Tokens of both sides in an update, at most this many times `batch_tokens`; 0: no bound."""
    micro_batch_tokens: int = Field(1024, ge=1, le=1_000_000)
    """Target tokens per micro-batch; an update consists of several micro-batches, which are computed one by one."""
    max_updates: CountOrNone = 0
    """Maximum number of updates; 0: no limit except max_epochs."""
    max_epochs: Count = 40
    """Maximum number of passes over the data."""
    time: str = ""
    """Maximum training time, such as 90s, 20m or 1.5h; empty: no limit."""
    objective: ObjectiveConfig = LikelihoodConfig()
    """The loss that training minimises."""
    optimizer: OptimizerConfig = AdamConfig()
    """The optimizer."""
    lr: float = Field(0.001, gt=0, le=100)
    """Highest learning rate."""
    schedule: Schedule = "cosine"
    """Learning rate after the warm-up: constant, inverse_sqrt (falls with 1/√updates) or cosine (falls to 2 %)."""
    warmup: CountOrNone = 400
    """Number of updates over which the learning rate rises to lr."""
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    """Share of the target probability that is spread over the vocabulary."""
    clip: float = Field(1.0, gt=0, le=1e9)
    """Maximum norm of the gradient; larger gradients are scaled down to it."""
    patience: Count = 8
    """Number of validations without a better score after which training stops."""
    validate_every: Count = 500
    """Number of updates between validations."""
    save_every: Count = 500
    """Number of updates between checkpoints."""
    save_minutes: float = Field(10.0, gt=0, le=1e6, allow_inf_nan=False)
    """Maximum number of minutes between checkpoints, if save_every updates take longer."""
    validation_sentences: Count = 1000
    """Number of sentences of the development set that a validation translates."""
    validation_beam: NumHypotheses = 1
    """Beam size of validations; the final scores are computed with search.beam."""

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
            raise ValueError("must be a time such as 90s, 20m or 1.5h")
        return time


def seconds_of(time: str) -> float | None:
    """Return the seconds of `90s`, `20m` or `1.5h`, or None for an empty string; a number without a unit is minutes."""
    if not time:
        return None
    unit = {"s": 1.0, "m": 60.0, "h": 3600.0}.get(time[-1])
    return float(time[:-1]) * unit if unit else float(time) * 60.0
