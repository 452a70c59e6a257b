"""Say what is wrong with a data set, the weightiest first and each with advice, and write a clean copy.

Memory stays flat (see `tally`); nothing is changed except in the copy that the user asks for.
"""

import contextlib
import dataclasses
import os
from array import array
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from calque.data.check import tally as counting
from calque.data.check.tally import Found, Tally
from calque.data.files.readers import Dataset, is_blank, pairs
from calque.errors import DataError, ResourceError, UsageError


@dataclass(frozen=True)
class Side:
    """Describe the texts of one side: characters (median, 95 % up to, longest) and lines by script."""

    median: int
    most: int
    longest: int
    scripts: dict[str, int]


@dataclass(frozen=True)
class Overlap:
    """Count the pairs of another data set whose source, or whole pair, is in this one as well."""

    name: str
    pairs: int
    same_source: int
    same_pair: int
    swapped: bool


@dataclass(frozen=True)
class Finding:
    """Name one thing found: `level` is "error", "warning" or "note", `lines` the first line numbers where known."""

    kind: str
    level: str
    count: int
    message: str
    advice: str
    lines: tuple[int, ...] = ()


@dataclass(frozen=True)
class CheckReport:
    """Hold what a check found; `findings` is empty for a data set without a fault."""

    name: str
    description: str
    pairs: int
    usable: int
    source: Side
    target: Side
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

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain values for JSON."""
        return dataclasses.asdict(self)

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
            where = f" (line {', '.join(map(str, finding.lines[:5]))}{', …' * (finding.count > 5)})"
            result.append(f"{finding.level}: {finding.message}{where if finding.lines else ''}. {finding.advice}.")
            if finding.kind == "bad_lines":
                result += [f"  {error}" for error in self.first_bad]
        return result if self.findings else [*result, "nothing found"]


def check_dataset(dataset: Dataset, other: Dataset | None = None) -> CheckReport:
    """Return what is wrong with `dataset`, and what it shares with `other` (a test set).

    Raises DataError for a file that is spoilt as a whole or has no usable pair.
    """
    counted = counting.tally(dataset)
    # The ratios go with the lines, so they are looked at before the keys are sorted.
    outliers = counting.ratio_outliers(counted)
    keys = counting.sorted_keys(counted)
    repeated, conflicting = counting.duplicates(keys)
    overlap = None if other is None else _overlap(counted, keys, other)
    swapped = _swapped(counted)
    findings = [
        *_blocking(counted, overlap),
        *_doubtful(counted, swapped, outliers, conflicting),
        *_harmless(counted, repeated, dataset.joined_newlines),
    ]
    order = ("error", "warning", "note")
    usable = len(counted.lines)
    return CheckReport(
        name=dataset.name,
        description=dataset.description,
        pairs=counted.pairs,
        usable=usable,
        source=_side(counted.source_lengths, counted, 0),
        target=_side(counted.target_lengths, counted, 1),
        bad_lines=counted.bad.count,
        first_bad=tuple(map(str, counted.bad_errors)),
        duplicate_pairs=repeated,
        conflicting_sources=conflicting,
        swapped_share=swapped.count / usable,
        odd_characters=dict(counted.odd_characters.most_common()),
        joined_newlines=dataset.joined_newlines,
        overlap=overlap,
        findings=tuple(
            sorted((found for found in findings if found.count), key=lambda found: order.index(found.level))
        ),
        graphs=counted.graphs,
    )


def _side(lengths: Counter[int], counted: Tally, index: int) -> Side:
    scripts: Counter[str] = Counter()
    for names, found in counted.scripts.items():
        scripts[names[index]] += found.count
    median, most = (counting.quantile(lengths, share) for share in (0.5, 0.95))
    return Side(median, most, max(lengths), dict(scripts.most_common()))


def _main_scripts(counted: Tally) -> tuple[str, str]:
    source, target = (next(iter(_side(Counter([0]), counted, index).scripts)) for index in (0, 1))
    return source, target


def _swapped(counted: Tally) -> Found:
    """Return the lines written the other way round; where both sides share a script nobody can tell."""
    source, target = _main_scripts(counted)
    return Found() if source == target else counted.scripts.get((target, source), Found())


def _overlap(counted: Tally, keys: counting.Keys, other: Dataset) -> Overlap:
    others = counting.tally(other)
    same_source, same_pair = counting.shared(keys, counting.sorted_keys(others))
    source, target = _main_scripts(counted)
    swapped = source != target and _main_scripts(others) == (target, source)
    return Overlap(other.name, len(others.lines), same_source, same_pair, swapped)


def _finding(kind: str, level: str, found: Found, message: str, advice: str) -> Finding:
    return Finding(kind, level, found.count, f"{found.count:,} {message}", advice, tuple(found.first))


def _blocking(counted: Tally, overlap: Overlap | None) -> list[Finding]:
    fix = "Mend them, or leave them out: calque check FILE --fix OUT"
    found = [_finding("bad_lines", "error", counted.bad, "bad lines, at which training would stop", fix)]
    if overlap is not None:
        message = (
            f"{overlap.same_source:,} of the {overlap.pairs:,} pairs of {overlap.name} have a source that is here too"
        )
        exact = f"{message}, {overlap.same_pair:,} as the same pair"
        advice = "Scores on them flatter the model: take them out of one side"
        found.append(Finding("overlap", "error", overlap.same_source, exact, advice))
        message = f"{overlap.name} has its columns the other way round"
        found.append(Finding("overlap_swapped", "error", int(overlap.swapped), message, "Swap the columns of one"))
    return found


def _doubtful(counted: Tally, swapped: Found, outliers: Found, conflicting: int) -> list[Finding]:
    skipped = "They are skipped; look for a shift if there are many"
    several = f"{conflicting:,} sources with more than one target"
    mixed = counted.graphs if counted.graphs < len(counted.lines) else 0
    form = "A model reads either; give all sources one form"
    return [
        Finding("mixed_forms", "warning", mixed, f"{mixed:,} sources are graphs, the others texts", form),
        _finding("swapped", "warning", swapped, "pairs look swapped by their scripts", "Swap their two sides"),
        _finding("blank_target", "warning", counted.blank_target, "pairs with a blank target", skipped),
        _finding("blank_source", "warning", counted.blank_source, "pairs with a blank source", skipped),
        _finding(
            "length_ratio", "warning", outliers, "pairs of very unlike lengths", "See whether the sides belong together"
        ),
        _finding(
            "equal_sides", "warning", counted.equal_sides, "pairs whose sides are equal", "Drop what was not translated"
        ),
        Finding("conflicting_sources", "note", conflicting, several, "Fine if all are right answers"),
    ]


def _harmless(counted: Tally, repeated: int, joined: int) -> list[Finding]:
    kinds = ", ".join(f"{name} × {count:,}" for name, count in counted.odd_characters.most_common(5))
    odd = f"lines with control or invisible characters: {kinds}"
    drop = "They weigh more in training; drop them with: calque check FILE --fix OUT"
    breaks = f"{joined:,} line breaks and tabs inside texts read as spaces"
    return [
        Finding("duplicate_pairs", "note", repeated, f"{repeated:,} pairs repeat an earlier one", drop),
        _finding("blank_both", "note", counted.blank_both, "pairs blank on both sides", "They are skipped"),
        _finding("odd_characters", "note", counted.odd, odd, "They are kept as text"),
        _finding("special_text", "note", counted.special, "lines that spell special tokens", "They are kept as text"),
        Finding("joined_newlines", "note", joined, breaks, "Nothing to do"),
    ]


@dataclass(frozen=True)
class FixCounts:
    """Count the pairs written, and what was left out: bad lines, blank pairs, exact repeats of a pair."""

    kept: int
    bad: int
    blank: int
    duplicates: int


def fix_dataset(dataset: Dataset, out: Path) -> FixCounts:
    """Write the usable pairs of `dataset`, each once, as TSV to `out`, replacing it in one step."""
    if any(out.exists() and out.samefile(file.path) for file in dataset.files):
        raise UsageError(f'"{out}" is the data itself: name another file after --fix.')
    first = _first_times(dataset)
    bad: list[int] = [0]
    total = kept = blank = 0

    def on_bad(_: DataError) -> None:
        bad[0] += 1

    temporary = out.with_name(f"{out.name}.tmp-{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8", newline="") as stream:
            if len(dataset.columns.inputs) > 1:
                # Several columns are told apart by their names alone.
                stream.write("\t".join(dataset.columns.names) + "\n")
            for source, target in pairs(dataset.examples(on_bad)):
                if is_blank(source) or is_blank(target):
                    blank += 1
                    continue
                if first[total]:
                    stream.write(f"{source}\t{target}\n")
                    kept += 1
                total += 1
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(out)
    except OSError as error:
        raise ResourceError(f'could not write "{out}": {error.strerror}.') from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    return FixCounts(kept, bad[0], blank, total - kept)


def _first_times(dataset: Dataset) -> "np.ndarray[Any, np.dtype[np.bool_]]":
    """Return for each usable pair whether it is the first of its kind, from hashes of 64 bits."""
    hashes = array("Q")
    for source, target in pairs(dataset.examples(lambda _: None)):
        if not (is_blank(source) or is_blank(target)):
            hashes.append(counting.text_hash(f"{source}\t{target}"))
    values = np.frombuffer(hashes, dtype=np.uint64)
    # Stable: of equal hashes the first in the file comes first.
    order = np.argsort(values, kind="stable")
    values = values[order]
    result = np.empty(len(values), dtype=np.bool_)
    result[order] = np.concatenate([[True], values[1:] != values[:-1]])
    return result
