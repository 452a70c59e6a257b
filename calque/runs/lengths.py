"""The limits of a recipe that depend on the number of tokens in the texts."""

import math
from collections.abc import Sequence

from calque.data.survey import Survey
from calque.recipe.layers import Layer, validate
from calque.recipe.lengths import default_max_length
from calque.recipe.rules import check_rules
from calque.recipe.tree import Recipe
from calque.report.progress import Display
from calque.runs.store import none_fits
from calque.search.options import FIXED_LENGTH, FIXED_RATIO, MAX_DEFAULT_RATIO
from calque.text.pair import TextPair
from calque.text.too_long import TRAINED

# Enough for a quantile of 99.9 %.
SAMPLE_LINES = 5_000


def fit_lengths(recipe: Recipe, text: TextPair, facts: Survey, name: str, settings: Layer, display: Display) -> Recipe:
    """Set the limits that depend on the number of tokens in the texts."""
    source = sorted(map(len, text.encode_source(facts.source.sample[:SAMPLE_LINES])))
    target = sorted(map(len, text.encode_target(facts.target.sample[:SAMPLE_LINES])))
    layer: Layer = recipe.model_dump()
    if not recipe.data.max_length:
        usual = max(map(_usual_length, (source, target)))
        layer["data"]["max_length"] = default_max_length(recipe.model, math.ceil(2 * usual / 8) * 8)
        display.note(f"at most {layer['data']['max_length']} tokens per side: 99.9 % of the texts have up to {usual}")
    fitted = validate(layer)
    shortest = target[0] if fitted.data.too_long in TRAINED else max(source[0], target[0])
    if len(source) == facts.num_pairs and shortest >= fitted.data.max_length:
        # A dry run encodes only this sample, and must refuse the data that the token store would refuse.
        raise none_fits(name, fitted)
    if "max_length_ratio" not in settings.get("search", {}) and fitted.data.too_long in TRAINED:
        # Sources are cut, so the length of an output does not depend on theirs.
        layer["search"]["max_length_ratio"] = 0.0
        if "max_length_extra" not in settings.get("search", {}):
            layer["search"]["max_length_extra"] = min(FIXED_LENGTH, 2 * _usual_length(target))
    elif "max_length_ratio" not in settings.get("search", {}):
        ratio = math.ceil(2 * max(1.0, 1.5 * sum(target) / max(1, sum(source))))
        layer["search"]["max_length_ratio"] = float(ratio if ratio <= MAX_DEFAULT_RATIO else FIXED_RATIO)
        if ratio > MAX_DEFAULT_RATIO and "max_length_extra" not in settings.get("search", {}):
            layer["search"]["max_length_extra"] = min(FIXED_LENGTH, fitted.data.max_length)
    fitted = validate(layer)
    check_rules(fitted)
    return fitted


def _usual_length(lengths: Sequence[int]) -> int:
    """Return the length that 99.9 % of sorted `lengths` do not exceed."""
    return lengths[math.ceil(0.999 * len(lengths)) - 1]
