"""The plan of an epoch: complete, pure, within its budgets, little padded, flat in memory."""

import gc
import itertools
import time
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from calque.data.batches import MicroBatch, Update, padding_share, plan_epoch

Ints = NDArray[np.int64]


class Lengths:
    """Be a store of lengths alone."""

    def __init__(self, source: Ints, target: Ints) -> None:
        self.source, self.target = source, target

    def __len__(self) -> int:
        return len(self.source)

    def source_lengths(self, start: int, stop: int) -> Ints:
        return self.source[start:stop].astype(np.int64)

    def target_lengths(self, start: int, stop: int) -> Ints:
        return self.target[start:stop].astype(np.int64)

    def lengths_at(self, indices: Ints) -> tuple[Ints, Ints]:
        return self.source[indices].astype(np.int64), self.target[indices].astype(np.int64)


def correlated(num: int, seed: int = 0) -> NDArray[np.float64]:
    draws = np.random.default_rng(seed).standard_normal((2, num))
    return np.stack([draws[0], 0.7 * draws[0] + 0.51**0.5 * draws[1]])


def lengths(values: NDArray[np.float64]) -> Lengths:
    source, target = np.maximum(np.rint(values), 1).astype(np.int64) + 1
    return Lengths(source, target)


def sentences(num: int = 29_000, seed: int = 0) -> Lengths:
    return lengths(14 + 5 * correlated(num, seed))


def skewed_sentences(num: int = 29_000) -> Lengths:
    return lengths(np.exp(np.log(13) + 0.55 * correlated(num)))


def documents(num: int = 3_000) -> Lengths:
    return lengths(np.exp(np.array([[5.7], [3.7]]) + 0.5 * correlated(num)))


def equal(num: int = 5_000) -> Lengths:
    return Lengths(np.full(num, 12), np.full(num, 12))


def micro_batches_of(plan: list[Update]) -> list[MicroBatch]:
    return list(itertools.chain.from_iterable(plan))


def tokens_of(store: Lengths, update: Update) -> int:
    return sum(int(store.target[micro_batch].sum()) for micro_batch in update)


def as_lists(plan: list[Update]) -> list[list[list[int]]]:
    return [[micro_batch.tolist() for micro_batch in update] for update in plan]


@pytest.mark.parametrize("num", [0, 1, 2, 15, 16, 17, 63, 64, 65, 128, 129, 1_000])
@pytest.mark.parametrize("group_chunks", [1, 4])
def test_every_example_comes_exactly_once(num: int, group_chunks: int) -> None:
    store = sentences(num)
    plan = list(plan_epoch(store, 1, 0, 200, 100, chunk_examples=16, group_chunks=group_chunks))
    assert all(update and all(len(micro_batch) for micro_batch in update) for update in plan)
    assert all(micro_batch.dtype == np.int64 for micro_batch in micro_batches_of(plan))
    came = [index for micro_batch in micro_batches_of(plan) for index in micro_batch.tolist()]
    assert sorted(came) == list(range(num))


def test_the_plan_depends_on_its_arguments_and_nothing_else() -> None:
    store = sentences(3_000)

    def plan(seed: int, epoch: int) -> list[list[list[int]]]:
        np.random.seed(len(str(seed)))  # the global generator must not matter
        return as_lists(list(plan_epoch(store, seed, epoch, 2_000, 500, chunk_examples=64, group_chunks=4)))

    first = plan(1, 0)
    assert plan(1, 0) == first
    others = [plan(1, 1), plan(2, 0), plan(0, 1)]
    assert all(other != first for other in others)
    assert others[0] != others[2]
    # Not only the order: who meets whom changes too.
    together = [{frozenset(micro_batch) for update in made for micro_batch in update} for made in (first, others[0])]
    assert len(together[0] & together[1]) < len(together[0]) / 4


def test_what_was_taken_before_does_not_change_what_comes() -> None:
    store = sentences(3_000)
    whole = as_lists(list(plan_epoch(store, 1, 3, 1_000, 500)))
    later = as_lists(list(itertools.islice(plan_epoch(store, 1, 3, 1_000, 500), 20, None)))
    assert later == whole[20:]


def test_a_group_is_made_of_whole_chunks_drawn_at_random() -> None:
    store = equal(640)
    plan = list(plan_epoch(store, 4, 0, 24, 12, chunk_examples=16, group_chunks=4))
    order = [index for micro_batch in micro_batches_of(plan) for index in micro_batch.tolist()]
    groups = [order[start : start + 64] for start in range(0, 640, 64)]
    for group in groups:
        chunks = {index // 16 for index in group}
        assert len(chunks) == 4
        assert sorted(group) == sorted(index for chunk in chunks for index in range(16 * chunk, 16 * chunk + 16))
        assert group != sorted(group)
    assert any(max(group) - min(group) >= 64 for group in groups)


def test_an_update_goes_on_across_the_border_of_a_group() -> None:
    store = equal(640)  # 16 examples of 12 tokens a group
    plan = list(plan_epoch(store, 4, 0, 12 * 24, 12, chunk_examples=16, group_chunks=1))
    assert [tokens_of(store, update) for update in plan[:-1]] == [12 * 24] * (len(plan) - 1)


@pytest.mark.parametrize("make", [sentences, skewed_sentences, documents, equal])
@pytest.mark.parametrize(("batch_tokens", "micro_batch_tokens"), [(4_096, 1_024), (4_096, 4_096), (8_192, 2_048)])
def test_updates_have_nearly_the_tokens_asked_for(
    make: Callable[[], Lengths], batch_tokens: int, micro_batch_tokens: int
) -> None:
    store = make()
    plan = list(plan_epoch(store, 1, 0, batch_tokens, micro_batch_tokens))
    sizes = [tokens_of(store, update) for update in plan]
    assert np.mean(sizes[:-1]) == pytest.approx(batch_tokens, rel=0.03)
    assert min(sizes[:-1]) > 0.45 * batch_tokens
    assert max(sizes[:-1]) < 1.55 * batch_tokens
    assert 0.5 * batch_tokens <= sizes[-1] < 2 * batch_tokens


@pytest.mark.parametrize("make", [sentences, skewed_sentences, documents])
@pytest.mark.parametrize("micro_batch_tokens", [64, 1_024, 4_096])
def test_no_micro_batch_is_larger_than_its_budget(make: Callable[[], Lengths], micro_batch_tokens: int) -> None:
    store = make()
    micro_batches = micro_batches_of(list(plan_epoch(store, 1, 0, 4 * micro_batch_tokens, micro_batch_tokens)))
    cells = [
        len(micro_batch) * max(int(store.source[micro_batch].max()), int(store.target[micro_batch].max()))
        for micro_batch in micro_batches
    ]
    assert all(
        size <= micro_batch_tokens or len(micro_batch) == 1
        for size, micro_batch in zip(cells, micro_batches, strict=True)
    )
    assert np.mean(cells) > 0.4 * micro_batch_tokens


def test_a_micro_batch_is_no_more_than_half_an_update() -> None:
    store = sentences()
    plan = list(plan_epoch(store, 1, 0, 2_000, 1_000_000))
    assert max(tokens_of(store, [micro_batch]) for micro_batch in micro_batches_of(plan)) <= 1_000
    assert all(len(update) >= 2 for update in plan)


def test_one_huge_example_is_a_micro_batch_of_its_own_and_spoils_no_other_update() -> None:
    store = equal()
    store.source[77], store.target[78] = 5_000, 100_000
    plan = list(plan_epoch(store, 1, 0, 1_200, 600))
    assert [77] in [micro_batch.tolist() for micro_batch in micro_batches_of(plan)]
    assert [78] in [micro_batch.tolist() for micro_batch in micro_batches_of(plan)]
    sizes = [tokens_of(store, update) for update in plan if not any(78 in micro_batch for micro_batch in update)]
    assert min(sizes[:-1]) >= 600


def test_a_tiny_end_joins_the_update_before() -> None:
    for num in range(95, 130):
        sizes = [tokens_of(equal(num), update) for update in plan_epoch(equal(num), 1, 0, 120, 12)]
        assert min(sizes) >= 60
    assert len(list(plan_epoch(equal(2), 1, 0, 120, 12))) == 1


@pytest.mark.parametrize("micro_batch_tokens", [1_024, 2_048, 4_096])
@pytest.mark.parametrize("make", [sentences, skewed_sentences])
def test_at_most_a_twentieth_of_the_cells_is_empty(make: Callable[[], Lengths], micro_batch_tokens: int) -> None:
    store = make()
    for epoch in range(2):
        micro_batches = micro_batches_of(list(plan_epoch(store, 1, epoch, 4 * micro_batch_tokens, micro_batch_tokens)))
        assert padding_share(store, micro_batches) <= 0.05


def test_few_examples_are_padded_little_too() -> None:
    for num in (300, 1_000, 3_000):
        store = sentences(num)
        micro_batches = micro_batches_of(list(plan_epoch(store, 1, 0, 1_024, 512)))
        unsorted = [np.arange(start, min(start + 30, num)) for start in range(0, num, 30)]
        assert padding_share(store, micro_batches) <= 0.12
        assert padding_share(store, micro_batches) < padding_share(store, unsorted) / 3


def test_padding_is_the_share_of_empty_cells() -> None:
    store = Lengths(np.array([2, 4, 3]), np.array([5, 5, 1]))
    # Sources 2 of 8 empty, targets none of 10; then a micro-batch without padding.
    assert padding_share(store, [np.array([0, 1]), np.array([2])]) == pytest.approx(2 / (8 + 10 + 3 + 1))
    assert padding_share(store, []) == 0


def test_planning_is_quick() -> None:
    store = sentences()
    times = []
    for epoch in range(3):
        start = time.process_time()
        num_updates = sum(1 for _ in plan_epoch(store, 1, epoch, 4_096, 1_024))
        times.append(time.process_time() - start)
    assert num_updates > 50
    assert min(times) < 0.3  # 0.05 s on a quiet machine


def test_planning_is_flat_in_memory() -> None:
    values = np.full(2_000_000, 16, np.int16)
    values[::3] = 9
    store = Lengths(values, values)
    gc.collect()
    tracemalloc.start()
    num_examples = sum(len(micro_batch) for update in plan_epoch(store, 1, 0, 65_536, 32_768) for micro_batch in update)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert num_examples == 2_000_000
    assert peak < 30_000_000


def test_updates_have_the_tokens_asked_for_on_average_where_no_one_of_them_can() -> None:
    store = equal()
    sizes = [tokens_of(store, update) for update in plan_epoch(store, 1, 0, 112, 48)]  # micro-batches of 48
    assert set(sizes[:-1]) == {96, 144}
    assert np.mean(sizes[:-1]) == pytest.approx(112, rel=0.01)


def test_lengths_come_in_random_order() -> None:
    store = sentences()
    micro_batches = micro_batches_of(list(plan_epoch(store, 1, 0, 4_096, 1_024)))
    means = np.array([store.target[micro_batch].mean() for micro_batch in micro_batches])
    assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.2


def test_examples_of_equal_lengths_meet_others_in_each_epoch() -> None:
    store = equal()
    pairs = []
    for epoch in range(2):
        micro_batches = micro_batches_of(list(plan_epoch(store, 1, epoch, 480, 120)))
        pairs.append(
            {
                frozenset(pair)
                for micro_batch in micro_batches
                for pair in itertools.combinations(micro_batch.tolist(), 2)
            }
        )
    assert len(pairs[0] & pairs[1]) < len(pairs[0]) / 100


def total_of(store: Lengths, update: Update) -> int:
    return sum(int((store.source[micro_batch] + store.target[micro_batch]).sum()) for micro_batch in update)


def stories(num: int = 2_000) -> Lengths:
    """Return long sources with answers of one word."""
    return Lengths(np.random.default_rng(3).integers(40, 120, num), np.full(num, 2))


def test_long_sources_with_short_targets_make_no_huge_updates() -> None:
    store = stories()
    bounded = list(plan_epoch(store, 1, 0, 1_024, 1_024, 4_096))
    sizes = [total_of(store, update) for update in bounded]
    assert np.mean(sizes[:-1]) == pytest.approx(4_096, rel=0.05)
    assert max(sizes) <= 1.75 * 4_096
    assert sorted(itertools.chain.from_iterable(map(np.ndarray.tolist, micro_batches_of(bounded)))) == list(
        range(2_000)
    )
    assert total_of(store, next(iter(plan_epoch(store, 1, 0, 1_024, 1_024)))) > 30_000


def test_the_bound_of_both_sides_changes_nothing_where_targets_are_as_long() -> None:
    for store in (sentences(3_000), equal(3_000)):
        free = as_lists(list(plan_epoch(store, 1, 0, 2_048, 1_024)))
        assert as_lists(list(plan_epoch(store, 1, 0, 2_048, 1_024, 4 * 2_048))) == free
