"""The results of a check of a data set, as values and as lines to read."""

import dataclasses
from dataclasses import dataclass
from typing import Literal

Level = Literal["error", "warning", "note"]
LEVELS: tuple[Level, ...] = ("error", "warning", "note")
_SHOWN_LINES = 5


@dataclass(frozen=True)
class SideLengths:
    """The lengths of the texts of one side in characters, and their scripts."""

    median: int
    most: int
    """Length that 95 % of the texts do not exceed."""
    longest: int
    scripts: dict[str, int]
    """Number of texts by script, the most frequent first."""


@dataclass(frozen=True)
class Overlap:
    """What another data set shares with this one."""

    name: str
    pairs: int
    """Usable pairs of the other set."""
    same_source: int
    """Its pairs whose source is in this set too."""
    same_pair: int
    """Its pairs that are in this set too."""
    swapped: bool
    """Whether its columns are swapped."""
    bad_lines: int
    first_bad: str
    """The error of its first bad line."""


@dataclass(frozen=True)
class Finding:
    """A kind of fault. Training refuses an error, and continues after a warning or a note."""

    kind: str
    level: Level
    count: int
    message: str
    advice: str
    lines: tuple[int, ...] = ()
    """Numbers of the first lines, where known."""


@dataclass(frozen=True)
class CheckReport:
    """The result of a check; `findings` is empty for a data set without a fault."""

    name: str
    description: str
    pairs: int
    usable: int
    source: SideLengths
    target: SideLengths
    bad_lines: int
    first_bad: tuple[str, ...]
    duplicate_pairs: int
    conflicting_sources: int
    swapped_share: float
    odd_characters: dict[str, int]
    joined_newlines: int
    overlap: Overlap | None
    findings: tuple[Finding, ...]
    graphs: int = 0

    @property
    def is_refused(self) -> bool:
        """Return whether training would refuse the data."""
        return any(found.level == "error" for found in self.findings)

    def as_dict(self) -> dict[str, object]:
        """Return the report as plain values for JSON."""
        return dataclasses.asdict(self) | {"refused": self.is_refused}

    def lines(self) -> list[str]:
        """Return the report as lines to read."""
        result = [f"{self.name} ({self.description}): {self.pairs:,} pairs, {self.usable:,} usable"]
        result += [f"  {self.graphs:,} sources are graphs, counted here as the text in them"] if self.graphs else []
        for label, side in (("source", self.source), ("target", self.target)):
            total = sum(side.scripts.values())
            scripts = ", ".join(f"{script} {count / total:.0%}" for script, count in list(side.scripts.items())[:3])
            lengths = f"median {side.median:,}, 95th percentile {side.most:,}, longest {side.longest:,}"
            result.append(f"  {label}: {scripts}; length in characters: {lengths}")
        for finding in self.findings:
            result.append(f"{finding.level}: {finding.message}{_places(finding)}. {finding.advice}.")
            if finding.kind == "bad_lines":
                result += [f"  {error}" for error in self.first_bad]
        return result if self.findings else [*result, "no problems found"]


def _places(finding: Finding) -> str:
    """Return the numbers of the first lines of a finding in brackets, or nothing if they are unknown."""
    shown = ", ".join(map(str, finding.lines[:_SHOWN_LINES]))
    if not shown or finding.count == 1:
        return f" (line {shown})" if shown else ""
    if len(finding.lines) == 1:
        return f" (the first is line {shown})"
    return f" (lines {shown}{', …' * (finding.count > _SHOWN_LINES)})"
