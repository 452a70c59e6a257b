"""Choose combinations so that every pair of options that go together occurs: the selection is made, not typed."""

import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

Choice: TypeAlias = dict[str, str]
Pair: TypeAlias = frozenset[tuple[str, str]]
CANDIDATES = 12
TRIES = 50


@dataclass(frozen=True)
class Axis:
    """Hold the options of one kind of choice; where it does not apply, the first stands for none."""

    options: tuple[str, ...]
    applies: Callable[[Choice], bool] = lambda choice: True


def pairs_of(choice: Choice) -> set[Pair]:
    """Return every pair of options in a combination."""
    return {frozenset(pair) for pair in itertools.combinations(choice.items(), 2)}


def complete(
    fixed: Choice, axes: Mapping[str, Axis], sensible: Callable[[Choice], bool], draws: random.Random
) -> Choice | None:
    """Return a sensible combination that holds `fixed`, the rest drawn; None where none was found."""
    for _ in range(TRIES):
        choice = {name: fixed.get(name) or draws.choice(axis.options) for name, axis in axes.items()}
        for name, axis in axes.items():
            if not axis.applies(choice):
                choice[name] = axis.options[0]
        if fixed.items() <= choice.items() and sensible(choice):
            return choice
    return None


def covering(axes: Mapping[str, Axis], sensible: Callable[[Choice], bool], seed: int = 0) -> list[Choice]:
    """Return combinations, each of many that show the most new pairs, until every possible pair has occurred."""
    draws = random.Random(seed)
    left = {
        frozenset({(first, one), (second, other)})
        for first, second in itertools.combinations(axes, 2)
        for one in axes[first].options
        for other in axes[second].options
    }
    order = sorted(left, key=sorted)
    chosen: list[Choice] = []
    for wanted in order:
        if wanted not in left:
            continue
        found = [complete(dict(wanted), axes, sensible, draws) for _ in range(CANDIDATES)]
        candidates = [choice for choice in found if choice is not None]
        left.discard(wanted)
        if candidates:
            best = max(candidates, key=lambda choice: len(pairs_of(choice) & left))
            left -= pairs_of(best)
            chosen.append(best)
    return chosen


def sample(chosen: Sequence[Choice]) -> list[Choice]:
    """Return a few combinations that together show every option, at each turn the one that shows the most new."""
    seen: set[tuple[str, str]] = set()
    kept = []
    while not seen >= {option for choice in chosen for option in choice.items()}:
        best = max(chosen, key=lambda choice: len(choice.items() - seen))
        kept.append(best)
        seen |= best.items()
    return kept
