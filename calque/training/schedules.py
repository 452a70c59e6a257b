"""Learning-rate schedules: functions of the number of an update."""

import math
from typing import Literal

Schedule = Literal["constant", "inverse_sqrt", "cosine"]


def learning_rate(schedule: Schedule, peak: float, warmup: int, update: int, num_updates: int) -> float:
    """Return the learning rate of `update` (from 1): a linear warm-up to `peak`, then the decrease of the schedule.

    The cosine schedule reaches 2 % of the peak at `num_updates` and stays there.
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
