"""Every attention of a recurrent decoder again, by the formulas of the papers in plain Python numbers and loops."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

Vector = Sequence[float]
ALPHA = {"softmax": 1.0, "entmax": 1.5, "sparsemax": 2.0}


def product(left: Vector, right: Vector) -> float:
    return sum(one * other for one, other in zip(left, right, strict=True))


def times(matrix: Sequence[Vector], vector: Vector) -> list[float]:
    return [product(row, vector) for row in matrix]


def added(*vectors: Vector) -> list[float]:
    return [sum(units) for units in zip(*vectors, strict=True)]


def numbers(module: nn.Module) -> dict[str, Any]:
    """Return the parameters as nested lists."""
    return {name: parameter.tolist() for name, parameter in module.named_parameters()}


def normalised(name: str, scores: Vector) -> list[float]:
    """Return the weights of scores; the sparse ones by halving the interval of the threshold, not by sorting.

    α-entmax is max((α − 1) z − τ, 0)^(1 / (α − 1)), with the τ that makes it add up to 1 (Peters et al. 2019, eq. 5).
    """
    alpha = ALPHA[name]
    if alpha == 1:
        powers = [math.exp(score - max(scores)) for score in scores]
        return [power / sum(powers) for power in powers]

    def weights(threshold: float) -> list[float]:
        return [max((alpha - 1) * score - threshold, 0.0) ** (1 / (alpha - 1)) for score in scores]

    high = (alpha - 1) * max(scores)
    low = high - 1
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(weights(middle)) > 1 else (low, middle)
    return weights(low)


def _inner(p: Mapping[str, Any], query: Vector, state: Vector) -> list[float]:
    return added(times(p["query.weight"], query), p["query.bias"], times(p["key.weight"], state))


def _with_coverage(p: Mapping[str, Any], place: int, seen: Vector) -> float:
    return p["coverage.weight"][0] * seen[place] if "coverage.weight" in p else 0.0


def dot(config: Any, p: Mapping[str, Any], query: Vector, states: Sequence[Vector], seen: Vector, last: Vector) -> Any:
    return [product(query, state) + _with_coverage(p, place, seen) for place, state in enumerate(states)]


def scaled_dot(config: Any, p: Mapping[str, Any], query: Vector, states: Any, seen: Vector, last: Vector) -> Any:
    """Vaswani et al. 2017, eq. 1."""
    root = math.sqrt(len(query))
    return [product(query, state) / root + _with_coverage(p, place, seen) for place, state in enumerate(states)]


def general(config: Any, p: Mapping[str, Any], query: Vector, states: Any, seen: Vector, last: Vector) -> Any:
    """Luong et al. 2015, eq. 8."""
    projected = [times(p["key.weight"], state) for state in states]
    return [product(query, key) + _with_coverage(p, place, seen) for place, key in enumerate(projected)]


def additive(config: Any, p: Mapping[str, Any], query: Vector, states: Any, seen: Vector, last: Vector) -> Any:
    """See et al. 2017, eq. 11; without coverage that of Bahdanau et al. 2015."""
    scores = []
    for place, state in enumerate(states):
        inner = _inner(p, query, state)
        if "coverage.weight" in p:
            inner = added(inner, [row[0] * seen[place] for row in p["coverage.weight"]])
        scores.append(product(p["energy"], [math.tanh(unit) for unit in inner]))
    return scores


def location(config: Any, p: Mapping[str, Any], query: Vector, states: Any, seen: Vector, last: Vector) -> Any:
    """Chorowski et al. 2015, eq. 8 and 9; nothing is attended before the sentence and after it."""
    given = seen if config.cumulative else last
    scores = []
    for place, state in enumerate(states):
        features = []
        for (filter_,) in p["filters.weight"]:
            around = [place + offset - len(filter_) // 2 for offset in range(len(filter_))]
            features.append(
                sum(filter_[n] * given[other] for n, other in enumerate(around) if 0 <= other < len(states))
            )
        inner = added(_inner(p, query, state), times(p["location.weight"], features))
        if "coverage.weight" in p:
            inner = added(inner, [row[0] * seen[place] for row in p["coverage.weight"]])
        scores.append(product(p["energy"], [math.tanh(unit) for unit in inner]))
    return scores


SCORES: dict[str, Callable[..., Any]] = {
    "dot": dot,
    "scaled_dot": scaled_dot,
    "general": general,
    "additive": additive,
    "location": location,
}


def attend(
    config: Any, p: Mapping[str, Any], query: Vector, states: Sequence[Vector], seen: Vector, last: Vector
) -> tuple[list[float], list[float]]:
    """Return (mixed states, weights) of one query over one sentence that has no padding.

    `p`: the attention's parameters; `seen`: the sum of the weights so far; `last`: those of the step before.
    """
    if config.kind == "multi_head":
        return _heads(config, p, query, states, seen)
    if config.kind == "local":
        weights = _local(config, p, query, states, seen)
    else:
        weights = normalised(config.normaliser, SCORES[config.kind](config, p, query, states, seen, last))
    return _mixed(weights, states), weights


def _mixed(weights: Vector, states: Sequence[Vector]) -> list[float]:
    return added(*([weight * unit for unit in state] for weight, state in zip(weights, states, strict=True)))


def _local(config: Any, p: Mapping[str, Any], query: Vector, states: Sequence[Vector], seen: Vector) -> list[float]:
    """Luong et al. 2015, eq. 9 and 10, with the positions of the sentence counted from 0."""
    inner = [math.tanh(unit) for unit in times(p["inner.weight"], query)]
    centre = len(states) / (1 + math.exp(-product(p["position.weight"][0], inner)))
    scores = general(config, p, query, states, seen, seen)
    near = [place for place in range(len(states)) if centre - config.window <= place <= centre + config.window]
    weights = [0.0] * len(states)
    for place, weight in zip(near, normalised(config.normaliser, [scores[place] for place in near]), strict=True):
        deviation = config.window / 2
        weights[place] = weight * math.exp(-((place - centre) ** 2) / (2 * deviation**2))
    return weights


def _heads(
    config: Any, p: Mapping[str, Any], query: Vector, states: Sequence[Vector], seen: Vector
) -> tuple[list[float], list[float]]:
    """Vaswani et al. 2017, section 3.2.2; the weights shown are the mean of the heads."""
    asked = added(times(p["query.weight"], query), p["query.bias"])
    keys = [times(p["key.weight"], state) for state in states]
    values = [added(times(p["value.weight"], state), p["value.bias"]) for state in states]
    width = len(asked) // config.heads
    joined: list[float] = []
    mean = [0.0] * len(states)
    for head in range(config.heads):
        own = slice(head * width, (head + 1) * width)
        scores = [product(asked[own], key[own]) / math.sqrt(width) for key in keys]
        if "coverage.weight" in p:
            scores = [score + p["coverage.weight"][head] * seen[place] for place, score in enumerate(scores)]
        weights = normalised(config.normaliser, scores)
        joined += _mixed(weights, [value[own] for value in values])
        mean = [sum(pair) for pair in zip(mean, (weight / config.heads for weight in weights), strict=True)]
    return added(times(p["output.weight"], joined), p["output.bias"]), mean
