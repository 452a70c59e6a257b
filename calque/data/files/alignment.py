"""Find where two files of unequal length stop matching, so that the error can name a line to look at.

Long sentences have long translations: the ratio of lengths stays near its mean while lines still belong together.
The idea is from Gale and Church (1993), reduced to one change point.
"""

from array import array

import numpy as np
from numpy.typing import NDArray

from calque.data.files.lines import TextFile
from calque.errors import DataError

Floats = NDArray[np.float64]
# The largest shift, in lines, that is tried for the first lines after a slip.
_SHIFTS = 8


def refuse_unequal(source: TextFile, target: TextFile) -> None:
    """Raise DataError if the two files differ in their number of lines; it names where they seem to stop matching."""
    counts = source.count(), target.count()
    if counts[0] == counts[1]:
        return
    slip = first_slip(line_lengths(source), line_lengths(target))
    where = f"The lengths stop matching around line {slip:,}: look there first" if slip else "Compare the files"
    problem = f"{counts[0]:,} lines, but {target.name} has {counts[1]:,}; the lines of both must belong together."
    raise DataError(f"{problem} {where} for an extra or a missing line.", source.name, slip)


def line_lengths(file: TextFile) -> "array[int]":
    """Return the length of each line in bytes (4 bytes of memory per line)."""
    return array("I", (len(raw) for raw in file.raw_lines()))


def first_slip(source: "array[int]", target: "array[int]") -> int | None:
    """Return the line, from 1, near which two sides stop matching; None if their lengths do not show it.

    Up to the slip the lines match when counted from the top. After a single slip they match when counted from the
    bottom; after several they match in short blocks, each shifted by a few more lines.
    """
    shorter, longer = sorted((_logarithms(source), _logarithms(target)), key=len)
    size, gap = len(shorter), len(longer) - len(shorter)
    if size < 2:
        return None
    shift = shorter.mean() - longer.mean()
    top = np.abs(shorter - longer[:size] - shift)
    bottom = np.abs(shorter - longer[gap:] - shift)
    chance = float(np.abs(shorter - np.random.default_rng(0).permutation(longer)[:size] - shift).mean())
    matched = 0.75 * chance
    once = _lowest(top - bottom)
    both = float(np.concatenate([top[:once], bottom[once:]]).mean())
    if both < matched:
        return once + 1
    shifted = [np.abs(shorter - longer[by : by + size] - shift) for by in range(1, min(gap, _SHIFTS) + 1)]
    slips = [slip for slip in (_first_rise(top - other, 6 * chance) for other in shifted) if slip is not None]
    # If the lengths are unrelated, the sums also rise by chance; then the lines before the slip do not match either.
    if not slips or (min(slips) >= 5 and float(top[: min(slips)].mean()) > matched):
        return None
    return min(slips) + 1


def _first_rise(gain: Floats, height: float) -> int | None:
    """Return where the sum of `gain` was lowest before it first rose by `height` (Page's test), or None."""
    sums = np.concatenate([[0.0], np.cumsum(gain)])
    high = np.flatnonzero(sums - np.minimum.accumulate(sums) > height)
    return int(np.argmin(sums[: high[0]])) if len(high) else None


def _logarithms(lengths: "array[int]") -> Floats:
    logarithms: Floats = np.log1p(np.asarray(lengths, dtype=np.float64))
    return logarithms


def _lowest(gain: Floats) -> int:
    """Return the number of leading lines whose sum of `gain` is lowest: the change point."""
    return int(np.argmin(np.concatenate([[0.0], np.cumsum(gain)])))
