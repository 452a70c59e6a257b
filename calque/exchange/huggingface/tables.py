"""Reorder rows of tables between Hugging Face's ids and calque's; one of their ids may be several of calque's."""

from collections.abc import Sequence

import torch
from torch import Tensor

from calque.errors import UsageError
from calque.ids import BOS, PAD

Ids = Sequence[int]

# Added to a score, it makes the probability 0. A larger number would dominate the mean that label smoothing takes.
SILENCED = -1e4


def is_silenced(ids: Ids) -> list[bool]:
    """Return for each of calque's ids whether it must not count: it has no id of theirs, or shares it with another.

    The first of several counts, except <s>, which is never produced and counts only if it is the only one.
    """
    seen: set[int] = {-1}
    silenced = [False] * len(ids)
    for place in sorted(range(len(ids)), key=lambda place: place == BOS):
        silenced[place] = ids[place] in seen
        seen.add(ids[place])
    return silenced


def fetched(table: Tensor, ids: Ids, name: str) -> Tensor:
    """Return the rows [V, ..] of a table in the order of ids, 0 for −1."""
    index = torch.tensor(ids, dtype=torch.int64)
    if len(index) and int(index.max()) >= len(table):
        raise UsageError(f"{name}: the tokenizer has the id {int(index.max())}, the weights have {len(table)} rows")
    rows = table[index.clamp(min=0)].float()
    rows[index < 0] = 0
    return rows


def placed(rows: Tensor, ids: Ids, size: int) -> Tensor:
    """Return a table [size, D] with `rows` at `ids`; UsageError if two different rows have the same id."""
    return _put(rows.new_zeros(size, rows.shape[1]), rows, ids)


def placed_on_both(source: Tensor, source_ids: Ids, target: Tensor, target_ids: Ids, size: int) -> Tensor:
    """Return one table for both sides; rows that the source never reads are those of the target."""
    taken = set(target_ids)
    read = [-1 if place in (PAD, BOS) and number in taken else number for place, number in enumerate(source_ids)]
    table = _put(placed(target, target_ids, size), source, read)
    _require_kept(table, target, target_ids)
    return table


def without_padding(rows: Tensor, ids: Ids) -> Ids:
    """Return ids without one for padding, if it shares a row with <s> and training has made the two different.

    Nothing reads the row of padding; in a class with a bias, the bias also prevents that it is produced.
    """
    if ids[PAD] != ids[BOS] or torch.equal(rows[PAD], rows[BOS]):
        return ids
    return [-1 if place == PAD else number for place, number in enumerate(ids)]


def have_conflict(source: Tensor, source_ids: Ids, target: Tensor, target_ids: Ids) -> bool:
    """Return whether one table cannot hold the rows of both sides."""
    try:
        placed_on_both(source, source_ids, target, target_ids, max(*source_ids, *target_ids) + 1)
    except UsageError:
        return True
    return False


def placed_bias(bias: Tensor, ids: Ids, size: int, architecture: str, has_bias: bool) -> Tensor | None:
    """Return `final_logits_bias` [1, size], very low at rows without an id; None for a class that has none.
    Raises UsageError if such a class would need one."""
    counted = [number if not silent else -1 for number, silent in zip(ids, is_silenced(ids), strict=True)]
    # One column, so that −1 and conflicts are treated as in a table.
    result = bias.new_full((size, 1), SILENCED)
    result = _put(result, bias.unsqueeze(1), counted).transpose(0, 1).contiguous()
    if has_bias:
        return result
    if bool(result.any()):
        raise UsageError(
            f"model.head.learned_bias: {architecture} has no bias in its head: neither a learned one, nor one"
            f" that prevents ids; {int(result.count_nonzero())} of {size} would need it"
        )
    return None


def _put(table: Tensor, rows: Tensor, ids: Ids) -> Tensor:
    index = torch.tensor(ids, dtype=torch.int64)
    table[index[index >= 0]] = rows[index >= 0]
    _require_kept(table, rows, ids)
    return table


def _require_kept(table: Tensor, rows: Tensor, ids: Ids) -> None:
    index = torch.tensor(ids, dtype=torch.int64)
    places = (index >= 0).nonzero()[:, 0]
    differ = (table[index[places]] != rows[places]).any(dim=1).nonzero()[:, 0]
    if len(differ):
        place = int(places[differ[0]])
        raise UsageError(
            f"calque's id {place} shares the row {int(index[place])} of Hugging Face's table with another id, but their"
            " weights differ, for example after more training; such a model cannot be exported"
        )
