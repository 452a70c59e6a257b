"""Measure systems in turn: first each setting of each once, then rounds in which every system runs once at its best.

The order moves on by one place each round, so that no system always follows the same other.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

Setting = Mapping[str, Any]
Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class Plan:
    """Say how often: rounds at the best setting, and whether one round over all settings comes first."""

    rounds: int = 5
    sweep: bool = True


def interleave(
    systems: Mapping[Name, Sequence[Setting]], plan: Plan, measure: Callable[[Name, Setting, int], float | None]
) -> dict[Name, Setting]:
    """Measure `plan.rounds` rounds and return each system's best setting; those that fail are left out.

    `measure(system, setting, round)` returns a rate, larger is better, or None where the system failed; round 0 is the
    sweep. Without a sweep each system's first setting is taken.
    """
    best = _sweep(systems, measure) if plan.sweep else {name: settings[0] for name, settings in systems.items()}
    for number in range(1, plan.rounds + 1):
        for name in turned(list(best), number - 1):
            if name in best and measure(name, best[name], number) is None:
                del best[name]
    return best


def turned(names: list[Name], by: int) -> list[Name]:
    """Return names beginning `by` places later, the first ones last."""
    at = by % len(names) if names else 0
    return names[at:] + names[:at]


def _sweep(
    systems: Mapping[Name, Sequence[Setting]], measure: Callable[[Name, Setting, int], float | None]
) -> dict[Name, Setting]:
    best: dict[Name, tuple[float, Setting]] = {}
    most = max((len(settings) for settings in systems.values()), default=0)
    for number in range(most):
        for name, settings in systems.items():
            rate = measure(name, settings[number], 0) if number < len(settings) else None
            if rate is not None and (name not in best or rate > best[name][0]):
                best[name] = rate, settings[number]
    return {name: best[name][1] for name in systems if name in best}
