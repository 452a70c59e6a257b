"""The time left of a run: the pace of recent updates plus the remaining pauses (validation, saving).

Pauses are counted separately: an average over updates and pauses would jump at each pause.
"""

import bisect
import math
from collections import deque

MAX_MARKS = 512
RECENT_PAUSES = 3


class TimeLeft:
    """An estimate of the seconds left of a run of `total_steps` that pauses every `pause_every` steps (0: unknown).

    A pause comes after the update of its step; report each with `paused`. Before the first one its cost is unknown and
    is left out.
    """

    def __init__(self, total_steps: int, pause_every: int = 0) -> None:
        self.total_steps = total_steps
        self.pause_every = pause_every
        self._steps: list[int] = []
        self._moving: list[float] = []  # the clock at each of the steps, without pauses
        self._paused = 0.0
        self._num_pauses = 0
        # Early validations are slow, since the output of an untrained model is long: only recent ones count.
        self._pauses: deque[float] = deque(maxlen=RECENT_PAUSES)

    def paused(self, seconds: float) -> None:
        """Record a pause of `seconds`, in which the clock ran without an update."""
        self._paused += seconds
        self._num_pauses += 1
        self._pauses.append(seconds)

    def updated(self, step: int, now: float) -> float | None:
        """Record that `step` ended at `now` (in seconds of a clock); return the seconds left, or None if unknown."""
        self._steps.append(step)
        self._moving.append(now - self._paused)
        if len(self._steps) > MAX_MARKS:
            del self._steps[1::2], self._moving[1::2]
        if self._steps[-1] == self._steps[0]:
            return None
        left = max(0, self.total_steps - step)
        return left * self._seconds_per_step() + self._pauses_left(step) * self._seconds_per_pause()

    def _seconds_per_step(self) -> float:
        """Average over the newer half of the steps: first steps are slow, and machines change their pace."""
        middle = (self._steps[0] + self._steps[-1]) // 2
        start = min(bisect.bisect_left(self._steps, middle), len(self._steps) - 2)
        return (self._moving[-1] - self._moving[start]) / (self._steps[-1] - self._steps[start])

    def _seconds_per_pause(self) -> float:
        return sum(self._pauses) / len(self._pauses) if self._pauses else 0.0

    def _pauses_left(self, step: int) -> float:
        if self.pause_every:
            # A run always ends with a pause; the pause after this step is still to come.
            return math.ceil(self.total_steps / self.pause_every) - (step - 1) // self.pause_every
        return max(0, self.total_steps - step) * self._num_pauses / (step - self._steps[0])
