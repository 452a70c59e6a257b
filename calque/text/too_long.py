"""Sources that are longer than the model reads: split, shortened, read in overlapping windows, left out, or refused."""

from collections.abc import Sequence
from typing import Literal

from calque.errors import DataError
from calque.ids import UNK
from calque.text.source import SourceIds

TooLong = Literal["split", "head", "tail", "head_tail", "windows", "drop", "refuse"]

# What happens to a long line when it is answered.
ANSWERED: dict[TooLong, str] = {
    "split": "answered in parts",
    "head": "answered by their start alone",
    "tail": "answered by their end alone",
    "head_tail": "answered by their start and end alone",
    "windows": "answered in overlapping windows, of which the best answer is kept",
    "drop": "not answered",
    "refuse": "refused",
}

# What happens to the source of a long pair in training.
TRAINED: dict[TooLong, str] = {
    "head": "their start is read",
    "tail": "their end is read",
    "head_tail": "their start and their end are read",
    "windows": "the window that contains the target is read",
}


def checked_too_long(value: object) -> TooLong:
    """Return a value of `data.too_long` in a model folder; ValueError for anything else."""
    for known in ANSWERED:
        if value == known:
            return known
    raise ValueError(f"data.too_long is {value!r}; it must be one of {', '.join(ANSWERED)}")


def fitted(source: SourceIds, longest: int, too_long: TooLong) -> list[SourceIds]:
    """Return a source as sources of at most `longest` tokens, none for `drop`.

    Only the last of several sources is shortened. A graph, and several sources with `split`, stay whole. Windows
    overlap by half. Raises DataError for `refuse`.
    """
    if len(source) <= longest:
        return [source]
    if too_long == "refuse":
        raise DataError(f"the text has {len(source) + 1:,} tokens, but the model reads {longest + 1:,}; shorten it")
    if too_long == "drop":
        return []
    if not (source.is_cuttable if too_long == "split" else source.is_shortenable):
        return [source]
    total, most = len(source) - source.kept, max(1, longest - source.kept)
    match too_long:
        case "split":
            size = -(-total // -(-total // most))
            return [source.part(start, start + size) for start in range(0, total, size)]
        case "head":
            return [source.part(0, most)]
        case "tail":
            return [source.part(total - most, total)]
        case "head_tail":
            return [source.ends((most + 1) // 2, most // 2)]
        case "windows":
            starts = [*range(0, total - most, max(1, most // 2)), total - most]
            return [source.part(start, start + most) for start in starts]


def fitted_pair(
    source: SourceIds, target: list[int], longest: int, too_long: TooLong, vocab_size: int
) -> tuple[SourceIds, list[int]] | None:
    """Return the source and target that a model is trained on, None for a pair that has to be left out.

    A part of a translation has no target of its own, so `split` leaves a long pair out. Of several windows, the one is
    chosen that contains the target; if none contains it, the pair is left out. Copied forms, with target ids from
    `vocab_size` on, become unknown if the source no longer has them. Raises DataError for `refuse`.
    """
    if len(source) <= longest:
        return source, target
    if too_long == "split":
        return None
    parts = [part for part in fitted(source, longest, too_long) if len(part) <= longest]
    if too_long == "windows":
        parts = [part for part in parts if contains(part, target)]
    if not parts:
        return None
    copied = set(parts[0].copy_ids or ())
    return parts[0], [token if token < vocab_size or token in copied else UNK for token in target]


def contains(source: SourceIds, target: Sequence[int]) -> bool:
    """Return whether a source contains the target, as its own tokens or as those that copying it gives."""
    wanted, size = list(target), len(target)
    rows = [source.tokens] if source.copy_ids is None else [source.copy_ids, source.tokens]
    return any(row[start : start + size] == wanted for row in rows for start in range(len(row) - size + 1))
