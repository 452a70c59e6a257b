"""What a check of a data set found, as values and as lines for a person."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

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
    """Pairs of it whose source is in this set too."""
    same_pair: int
    """Pairs of it that are in this set too."""
    swapped: bool
    """Whether its columns are the other way round."""
    bad_lines: int
    first_bad: str
    """What is wrong with the first bad line of it."""


@dataclass(frozen=True)
class Finding:
    """One kind of fault. An error is what training refuses; a warning or a note does not stop it."""

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

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain values for JSON."""
        return dataclasses.asdict(self) | {"refused": self.is_refused}

    def lines(self) -> list[str]:
        """Return the report as plain text for a person."""
        result = [f"{self.name} ({self.description}): {self.pairs:,} pairs, {self.usable:,} usable"]
        result += [f"  {self.graphs:,} sources are graphs, counted here as the text in them"] if self.graphs else []
        for label, side in (("source", self.source), ("target", self.target)):
            total = sum(side.scripts.values())
            scripts = ", ".join(f"{script} {count / total:.0%}" for script, count in list(side.scripts.items())[:3])
            lengths = f"median {side.median:,}, 95 % up to {side.most:,}, longest {side.longest:,}"
            result.append(f"  {label}: {scripts}; characters: {lengths}")
        for finding in self.findings:
            shown = ", ".join(map(str, finding.lines[:_SHOWN_LINES])) + ", …" * (finding.count > _SHOWN_LINES)
            where = f" (line {shown})" if finding.lines else ""
            result.append(f"{finding.level}: {finding.message}{where}. {finding.advice}.")
            if finding.kind == "bad_lines":
                result += [f"  {error}" for error in self.first_bad]
        return result if self.findings else [*result, "nothing found"]
