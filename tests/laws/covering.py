"""Choose combinations so that every pair of options that go together occurs: the selection is made, not typed."""

import itertools
import random
from collections.abc import Callable, Sequence
from typing import TypeAlias

Choice: TypeAlias = dict[str, str]
Pair: TypeAlias = tuple[tuple[str, str], tuple[str, str]]
CANDIDATES = 40
TRIES = 400


def pairs_of(choice: Choice) -> set[Pair]:
    """Return every pair of options in a combination."""
    return set(itertools.combinations(choice.items(), 2))


def complete(
    fixed: Choice, axes: dict[str, Sequence[str]], sensible: Callable[[Choice], bool], draws: random.Random
) -> Choice | None:
    """Return a sensible combination that holds `fixed`, the rest drawn; None where none was found."""
    for _ in range(TRIES):
        drawn = {axis: fixed.get(axis) or draws.choice(options) for axis, options in axes.items()}
        if sensible(drawn):
            return drawn
    return None


def covering(axes: dict[str, Sequence[str]], sensible: Callable[[Choice], bool], seed: int = 0) -> list[Choice]:
    """Return combinations, those that show the most new pairs first, until every possible pair has occurred."""
    draws = random.Random(seed)
    left: set[Pair] = set()
    for (first, ones), (second, others) in itertools.combinations(axes.items(), 2):
        left |= {((first, one), (second, other)) for one in ones for other in others}
    chosen: list[Choice] = []
    while left:
        wanted = min(left)
        found = (complete(dict(wanted), axes, sensible, draws) for _ in range(CANDIDATES))
        candidates = list(itertools.takewhile(lambda choice: choice is not None, found))
        left.discard(wanted)
        if candidates:
            best = max(candidates, key=lambda choice: len(pairs_of(choice) & left))
            left -= pairs_of(best)
            chosen.append(best)
    return chosen


def sample(chosen: Sequence[Choice]) -> list[Choice]:
    """Return as many combinations from the front as show every option once, leaving out those that show none anew."""
    seen: set[tuple[str, str]] = set()
    kept = []
    for choice in chosen:
        if not seen >= set(choice.items()):
            kept.append(choice)
            seen |= set(choice.items())
    return kept
