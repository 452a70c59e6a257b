"""What a changed limit of a run is said to do is what it does to the learning rate."""

import numpy as np
import pytest
from numpy.typing import NDArray

from calque.runs.changes import LIMITS, MAY_CHANGE
from calque.training.config import TrainConfig
from calque.training.updates import count_updates


class Lengths:
    """A store of 100 pairs of ten tokens."""

    def __len__(self) -> int:
        return 100

    def target_lengths(self, start: int, stop: int) -> NDArray[np.int64]:
        return np.full(stop - start, 10)

    source_lengths = target_lengths

    def lengths_at(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return np.full(len(indices), 10), np.full(len(indices), 10)


@pytest.mark.parametrize(
    ("key", "before", "after"),
    [("train.max_updates", 3, 5), ("train.max_epochs", 2, 4), ("train.time", "5m", "20m")],
)
def test_the_notice_of_a_changed_limit_is_true(key: str, before: int | str, after: int | str) -> None:
    name = key.removeprefix("train.")
    lengths = [
        count_updates(Lengths(), TrainConfig.model_validate({"batch_tokens": 100, name: value}))  # type: ignore[arg-type]
        for value in (before, after)
    ]
    assert ("follows" in MAY_CHANGE[key]) == (lengths[0] != lengths[1])
    assert ("does not change" in MAY_CHANGE[key]) == (lengths[0] == lengths[1])


def test_each_limit_has_a_notice() -> None:
    assert set(LIMITS) <= set(MAY_CHANGE)
