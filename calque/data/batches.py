"""The order of the data: the examples of each update, cut into micro-batches of similar lengths.

A pure function of its arguments, shuffled in blocks, so that resuming needs the seed, the epoch and a count.
"""

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

MicroBatch: TypeAlias = NDArray[np.int64]
Update: TypeAlias = list[MicroBatch]

CHUNK_EXAMPLES = 1_024
GROUP_CHUNKS = 128
# The cost of one more micro-batch that saves padding, as a share of its cells. On synthetic lengths 0.04 halves the
# padding, with a quarter more micro-batches than if each is filled.
MICRO_BATCH_OVERHEAD = 0.04
STRIP_MICRO_BATCHES = 4.0


class HasLengths(Protocol):
    """The lengths of a store, </s> included."""

    def __len__(self) -> int:
        """Return the number of examples."""

    def source_lengths(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the source lengths of a range of examples."""

    def target_lengths(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the target lengths of a range of examples."""

    def lengths_at(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the source and target lengths of some examples."""


def plan_epoch(
    store: HasLengths,
    seed: int,
    epoch: int,
    batch_tokens: int,
    micro_batch_tokens: int,
    batch_total_tokens: int = 0,
    *,
    chunk_examples: int = CHUNK_EXAMPLES,
    group_chunks: int = GROUP_CHUNKS,
) -> Iterator[Update]:
    """Yield the updates of an epoch: lists of micro-batches, each an int64 array of indices of similar examples.

    Every example occurs exactly once. An update has about `batch_tokens` target tokens, </s> included, padding not;
    only the last may have half as many. `batch_total_tokens`, unless it is 0, bounds the tokens of both sides in the
    same way: otherwise updates of long sources with short targets would be huge. A micro-batch, padded, has at most
    `micro_batch_tokens` cells on either side, and at most half of `batch_tokens` (so that no update is of one length),
    unless it is one long example. `seed` and `epoch` are not negative. The store is cut into chunks of consecutive
    examples; groups of chunks drawn at random are shuffled as one, which bounds the memory.
    """
    assert batch_tokens > 0, batch_tokens
    assert micro_batch_tokens > 0, micro_batch_tokens
    draws = np.random.Generator(np.random.PCG64([seed, epoch]))
    num_chunks = -(-len(store) // chunk_examples)
    if num_chunks == 0:
        return
    # Groups of even size: a small last group would have few examples of similar lengths.
    groups = np.array_split(draws.permutation(num_chunks), -(-num_chunks // group_chunks))
    micro_batch_tokens = min(micro_batch_tokens, max(1, batch_tokens // 2))
    micro_batches = (
        micro_batch
        for group in groups
        for micro_batch in _group_micro_batches(store, group, chunk_examples, draws, micro_batch_tokens)
    )
    yield from _updates(_sized(micro_batches, batch_tokens, batch_total_tokens), batch_tokens)


def padding_share(store: HasLengths, micro_batches: Iterable[MicroBatch]) -> float:
    """Return the empty cells of both sides over all cells, each micro-batch padded to its longest source and target."""
    num_tokens = num_cells = 0
    for micro_batch in micro_batches:
        for lengths in store.lengths_at(micro_batch):
            num_tokens += int(lengths.sum())
            num_cells += len(micro_batch) * int(lengths.max())
    return 1 - num_tokens / num_cells if num_cells else 0.0


def _group_micro_batches(
    store: HasLengths,
    chunks: NDArray[np.int64],
    chunk_examples: int,
    draws: np.random.Generator,
    micro_batch_tokens: int,
) -> Iterator[tuple[MicroBatch, int, int]]:
    """Yield the micro-batches of one group of chunks in random order, each with its source and target tokens."""
    ranges = [(start, min(start + chunk_examples, len(store))) for start in (chunks * chunk_examples).tolist()]
    # The sort below is stable, so this random order decides which examples of equal lengths are neighbours.
    shuffled = draws.permutation(sum(stop - start for start, stop in ranges))
    indices = np.concatenate([np.arange(start, stop) for start, stop in ranges])[shuffled]
    source = np.concatenate([store.source_lengths(start, stop) for start, stop in ranges])[shuffled]
    target = np.concatenate([store.target_lengths(start, stop) for start, stop in ranges])[shuffled]
    order = _order(source, target, micro_batch_tokens)
    indices, source, target = indices[order], source[order], target[order]
    borders = _cut(source, target, micro_batch_tokens)
    tokens = [np.add.reduceat(side, borders[:-1]) for side in (source, target)]
    for number in draws.permutation(len(borders) - 1).tolist():
        yield indices[borders[number] : borders[number + 1]], int(tokens[0][number]), int(tokens[1][number])


def _sized(
    micro_batches: Iterable[tuple[MicroBatch, int, int]], batch_tokens: int, batch_total_tokens: int
) -> Iterator[tuple[MicroBatch, int]]:
    """Yield each micro-batch with its share of an update, in target tokens: by its own, or by those of both sides."""
    for micro_batch, source, target in micro_batches:
        both = (source + target) * batch_tokens // batch_total_tokens if batch_total_tokens else 0
        yield micro_batch, max(target, both)


def _order(source: NDArray[np.int64], target: NDArray[np.int64], micro_batch_tokens: int) -> NDArray[np.int64]:
    """Return the order in which neighbours have similar lengths on both sides.

    Strips of neighbouring target lengths, a few micro-batches each, are sorted by source length, alternately ascending
    and descending. Frequent target lengths get their own strip; rare ones share one, so that a micro-batch does not
    contain all source lengths.
    """
    which = np.unique(target, return_inverse=True)[1]
    cells = np.bincount(which, weights=np.maximum(source, target))
    num_micro_batches = float(cells.sum()) / micro_batch_tokens
    # With few micro-batches in all, there are as many strips as micro-batches in a strip.
    strip_cells = micro_batch_tokens * min(STRIP_MICRO_BATCHES, max(1.0, num_micro_batches**0.5))
    strip_of_value = np.unique((np.cumsum(cells) - cells / 2) // strip_cells, return_inverse=True)[1]
    strip = strip_of_value[which]
    return np.lexsort((target, np.where(strip % 2 == 0, source, -source), strip))


def _cut(source: NDArray[np.int64], target: NDArray[np.int64], micro_batch_tokens: int) -> list[int]:
    """Return the borders of the micro-batches of ordered examples, the first 0 and the last their number.

    Each micro-batch takes as many examples as fit, or ends earlier where its cells per token, overhead included, are
    fewest.
    """
    tokens = source + target
    borders = [0]
    while borders[-1] < len(tokens):
        start = borders[-1]
        stop = start + max(1, micro_batch_tokens // int(max(source[start], target[start])))
        widest_source = np.maximum.accumulate(source[start:stop])
        widest_target = np.maximum.accumulate(target[start:stop])
        sizes = np.arange(1, len(widest_source) + 1)
        cells = sizes * np.maximum(widest_source, widest_target)
        fitting = max(1, int(np.searchsorted(cells, micro_batch_tokens, side="right")))
        cost = (sizes * (widest_source + widest_target) + MICRO_BATCH_OVERHEAD * micro_batch_tokens)[:fitting]
        borders.append(start + 1 + int(np.argmin(cost / np.cumsum(tokens[start : start + fitting]))))
    return borders


def _updates(micro_batches: Iterable[tuple[MicroBatch, int]], batch_tokens: int) -> Iterator[Update]:
    """Yield consecutive micro-batches as updates of nearly `batch_tokens` each and on average."""
    held: Update = []  # the update before, which takes in the last one of the epoch if that is too small
    pending: Update = []
    num_tokens = 0
    # By how much the updates so far were too large; the next update corrects it by at most a quarter.
    excess = 0
    for micro_batch, micro_batch_tokens in micro_batches:
        if pending and 2 * (num_tokens + excess) + micro_batch_tokens > 2 * batch_tokens:
            if held:
                yield held
            excess = max(-batch_tokens // 4, min(batch_tokens // 4, num_tokens + excess - batch_tokens))
            held, pending, num_tokens = pending, [], 0
        pending.append(micro_batch)
        num_tokens += micro_batch_tokens
    if held and 2 * num_tokens < batch_tokens:
        yield held + pending
        return
    if held:
        yield held
    if pending:
        yield pending
