"""Learned positions end: data.max_length keeps within them, by itself or by an error."""

from typing import Any

import pytest

from calque.errors import UsageError
from calque.model import ModelConfig
from calque.recipe.layers import merge, validate
from calque.recipe.lengths import default_max_length, position_limits
from calque.recipe.rules import check_rules
from calque.recipe.tree import Recipe

SEVERAL = {
    "kind": "several",
    "encoders": [{"kind": "lstm"}, {"kind": "transformer", "positions": {"kind": "learned", "limit": 48}}],
}


def learned(limit: int) -> dict[str, Any]:
    return {"kind": "transformer", "positions": {"kind": "learned", "limit": limit}}


def model(**parts: dict[str, Any]) -> ModelConfig:
    return ModelConfig.model_validate(merge(ModelConfig().model_dump(), parts, ModelConfig))


@pytest.mark.parametrize(
    ("parts", "field", "limit"),
    [
        ({"encoder": learned(64)}, "model.encoder.positions.limit", 64),
        ({"decoder": learned(64)}, "model.decoder.positions.limit", 64),
        ({"encoder": learned(64), "decoder": learned(40)}, "model.decoder.positions.limit", 40),
        ({"encoder": SEVERAL}, "model.encoder.encoders.1.positions.limit", 48),
    ],
)
def test_longer_texts_than_there_are_positions_are_refused(parts: dict[str, Any], field: str, limit: int) -> None:
    def recipe(max_length: int) -> Recipe:
        columns = {"source": ["one", "two"] if parts.get("encoder") is SEVERAL else "one"}
        data = {"max_length": max_length, "columns": columns}
        return validate(merge(Recipe().model_dump(), {"model": parts, "data": data}))

    assert position_limits(recipe(0).model)[0] == (limit, field)
    for fits in (0, limit):
        check_rules(recipe(fits))
    with pytest.raises(UsageError) as caught:
        check_rules(recipe(limit + 1))
    for word in (f"data.max_length is {limit + 1}", f"{field} is {limit}", "sinusoidal"):
        assert word in str(caught.value)


def test_a_length_from_the_data_stays_within_the_positions() -> None:
    assert default_max_length(model(encoder=learned(64)), 200) == 64
    assert default_max_length(model(encoder=learned(64)), 40) == 40
    assert default_max_length(model(decoder=learned(16)), 10) == 16
    assert default_max_length(model(), 8) == 32
    assert default_max_length(model(), 5_000) == 1_024
    assert position_limits(model(decoder={"kind": "lstm"})) == []
