"""Records of rows: select, to and join treat every tensor of a record alike."""

from dataclasses import dataclass

import torch
from torch import Tensor

from calque import rows


@dataclass(frozen=True)
class Inner:
    """Hold a matrix, and a tuple of vectors."""

    matrix: Tensor
    parts: tuple[Tensor, ...]


@dataclass(frozen=True)
class Outer:
    """Hold what a state may hold: a record, nothing, a number."""

    inner: Inner
    absent: Tensor | None
    length: int


@dataclass(frozen=True)
class Counted:
    """Know a way of its own to take rows."""

    values: Tensor
    calls: int = 0

    def select_rows(self, index: Tensor) -> "Counted":
        return Counted(self.values[index], self.calls + 1)


def outer(num_rows: int = 3, width: int = 2, length: int = 5) -> Outer:
    matrix = torch.arange(num_rows * width).view(num_rows, width)
    return Outer(Inner(matrix, (torch.arange(num_rows), torch.ones(num_rows, dtype=torch.bool))), None, length)


def test_select_takes_the_same_rows_of_every_tensor() -> None:
    taken = rows.select(outer(), torch.tensor([2, 0, 0, 1]))
    assert taken.inner.matrix.tolist() == [[4, 5], [0, 1], [0, 1], [2, 3]]
    assert taken.inner.parts[0].tolist() == [2, 0, 0, 1]
    assert taken.inner.parts[1].dtype == torch.bool
    assert taken.absent is None
    assert taken.length == 5


def test_select_of_none_gives_no_rows() -> None:
    taken = rows.select(outer(), torch.tensor([], dtype=torch.int64))
    assert taken.inner.matrix.shape == (0, 2)


def test_selections_compose() -> None:
    first, second = torch.tensor([2, 1, 1]), torch.tensor([1, 0])
    twice = rows.select(rows.select(outer(), first), second)
    assert torch.equal(twice.inner.matrix, rows.select(outer(), first[second]).inner.matrix)


def test_select_leaves_its_argument_as_it_was() -> None:
    record = outer()
    taken = rows.select(record, torch.tensor([0, 1, 2]))
    taken.inner.matrix.zero_()
    assert torch.equal(record.inner.matrix, outer().inner.matrix)


def test_a_record_may_select_in_its_own_way() -> None:
    taken = rows.select((Counted(torch.arange(3)), None), torch.tensor([1]))
    assert taken[0].values.tolist() == [1]
    assert taken[0].calls == 1


def test_join_puts_rows_one_below_the_other() -> None:
    record = outer(4)
    parts = [rows.select(record, torch.tensor(part)) for part in ([0], [1, 2], [3])]
    joined = rows.join(parts)
    assert torch.equal(joined.inner.matrix, record.inner.matrix)
    assert torch.equal(joined.inner.parts[0], record.inner.parts[0])
    assert joined.absent is None


def test_join_pads_with_zeros_to_the_longest_and_keeps_the_largest_extent() -> None:
    joined = rows.join([outer(1, 2, length=5), outer(2, 3, length=9)])
    assert joined.inner.matrix.tolist() == [[0, 1, 0], [0, 1, 2], [3, 4, 5]]
    assert joined.length == 9


def test_join_pads_masks_with_false() -> None:
    joined = rows.join([torch.ones(1, 1, dtype=torch.bool), torch.ones(1, 3, dtype=torch.bool)])
    assert joined.tolist() == [[True, False, False], [True, True, True]]


def test_to_moves_every_tensor() -> None:
    moved = rows.to(outer(), "meta")
    assert {moved.inner.matrix.device.type, moved.inner.parts[0].device.type} == {"meta"}
    assert moved.absent is None
    assert moved.length == 5
