"""The `train` section: times as people write them."""

import pytest
from pydantic import ValidationError

from calque.training.config import TrainConfig, seconds_of


@pytest.mark.parametrize(("time", "seconds"), [("90s", 90), ("20m", 1200), ("1.5h", 5400), ("2", 120), ("", None)])
def test_times_are_read(time: str, seconds: float | None) -> None:
    assert seconds_of(TrainConfig(time=time).time) == seconds


@pytest.mark.parametrize("time", ["20x", "m", "-5m", "0", "1e999h", "ten minutes"])
def test_what_is_no_time_is_refused(time: str) -> None:
    with pytest.raises(ValidationError, match="a time such as 90s, 20m"):
        TrainConfig(time=time)
