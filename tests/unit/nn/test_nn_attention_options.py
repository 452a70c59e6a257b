"""Options of attentions that make no sense: an error names the field, the rule and the fix."""

import pytest

from calque.errors import UsageError
from calque.model import build
from calque.nn.attention.dot import DotAttentionConfig, ScaledDotAttentionConfig
from calque.recipe.layers import merge, read_settings, validate
from calque.recipe.tree import Recipe


def refusal(*settings: str) -> str:
    """Return what a recipe with a recurrent decoder and these settings is answered with, when it is read or built."""
    layer = merge(Recipe().model_dump(), read_settings(["model.decoder.kind=lstm", *settings]))
    with pytest.raises(UsageError) as caught:
        build(validate(layer).model, 13, 13)
    return str(caught.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["kind=none", "coverage=true"], ["model.decoder.attention.coverage", "none", "additive"]),
        (["kind=none", "coverage_loss=1"], ["model.decoder.attention.coverage_loss", "none", "additive"]),
        (["kind=none", "normaliser=entmax"], ["model.decoder.attention.normaliser", "none"]),
        (["kind=none", "coverage=true", "coverage_loss=1"], ["coverage and coverage_loss", "remove"]),
        (["kind=general", "coverage_loss=-1"], ["model.decoder.attention.coverage_loss", "-1"]),
        (["kind=general", "normaliser=sparse"], ["model.decoder.attention.normaliser", "sparsemax", "'sparse'"]),
        (["kind=multi_head", "heads=3"], ["model.decoder.attention.heads", "256", "3"]),
        (["kind=multi_head", "heads=4", "width=6"], ["model.decoder.attention.heads", "width, 6", "4"]),
        (["kind=multi_head", "heads=0"], ["model.decoder.attention.heads", "0"]),
        (["kind=local", "window=0"], ["model.decoder.attention.window", "0"]),
        (["kind=location", "kernel=4"], ["model.decoder.attention.kernel", "odd", "5"]),
        (["kind=location", "filters=0"], ["model.decoder.attention.filters", "0"]),
        (["kind=scaled-dot"], ["model.decoder.attention.kind", 'Did you mean "scaled_dot"?']),
    ],
)
def test_what_makes_no_sense_is_refused_and_named(settings: list[str], words: list[str]) -> None:
    message = refusal(*(f"model.decoder.attention.{setting}" for setting in settings))
    for word in words:
        assert word in message


@pytest.mark.parametrize("config", [DotAttentionConfig(), ScaledDotAttentionConfig()], ids=lambda config: config.kind)
def test_products_need_one_width(config) -> None:
    with pytest.raises(
        UsageError, match=rf"model\.decoder\.attention: {config.kind} needs equal widths.*9.*6.*general"
    ):
        config.build(6, 9)
