"""The token store and the batches made from it."""

import errno
import gc
import os
import random
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from calque.batch import Batch
from calque.data.collate import collate, collate_pairs, collate_sources
from calque.data.store import writer as store_writer
from calque.data.store.token_store import TokenStore, build_store, open_or_build
from calque.errors import DataError, ResourceError
from calque.text.source import SourceIds, plain_sources

PAD, BOS, EOS = 0, 2, 3
FILES = ["source.tokens", "source.offsets", "target.tokens", "target.offsets", "store.json"]


@dataclass(frozen=True)
class Vocabulary:
    vocab_size: int


class WordNumbers:
    """Take texts of numbers: each is its own id."""

    def __init__(self, source_size: int = 1_000, target_size: int = 1_000) -> None:
        self.source, self.target = Vocabulary(source_size), Vocabulary(target_size)

    def encode_source(self, texts: Sequence[str]) -> list[list[int]]:
        return [[int(word) for word in text.split()] for text in texts]

    encode_target = encode_source

    @property
    def extras(self) -> tuple[str, ...]:
        return ()

    def read_pairs(self, sources: Sequence[str], targets: Sequence[str]) -> list[tuple[SourceIds, list[int]]]:
        return list(zip(plain_sources(self.encode_source(sources)), self.encode_target(targets), strict=True))


def random_pairs(num: int, longest: int = 9, top: int = 999, seed: int = 0) -> list[tuple[str, str]]:
    draws = random.Random(seed)

    def text() -> str:
        return " ".join(str(draws.randint(4, top)) for _ in range(draws.randint(1, longest)))

    return [(text(), text()) for _ in range(num)]


def build(folder: Path, pairs: Sequence[tuple[str, str]], max_length: int = 50) -> TokenStore:
    return build_store(folder, pairs, WordNumbers(), max_length)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_each_pair_comes_back_as_encoded(tmp_path: Path) -> None:
    pairs, text = random_pairs(5_000), WordNumbers()  # more than two blocks
    seen: list[int] = []
    built = build_store(tmp_path / "new" / "store", pairs, text, 50, seen.append)
    sources = text.encode_source([source for source, _ in pairs])
    targets = text.encode_target([target for _, target in pairs])
    for store in (built, TokenStore.open(tmp_path / "new" / "store")):
        assert len(store) == len(pairs)
        assert [store.source(index).tolist() for index in range(len(pairs))] == sources
        assert [store.target(index).tolist() for index in range(len(pairs))] == targets
        assert store.source_lengths(3, 4_000).tolist() == [len(row) + 1 for row in sources[3:4_000]]
        assert store.target_lengths(0, len(pairs)).tolist() == [len(row) + 1 for row in targets]
        index = np.array([4_999, 0, 7])
        at = [part.tolist() for part in store.lengths_at(index)]
        assert at == [[len(side[i]) + 1 for i in index] for side in (sources, targets)]
        assert store.record.num_source_tokens == sum(map(len, sources))
    assert seen == sorted(seen)
    assert seen[-1] == len(pairs)
    assert len(seen) > 2
    assert names(tmp_path / "new") == ["store"]


def test_what_is_too_long_is_left_out_counted_and_never_cut(tmp_path: Path) -> None:
    fits, too_long = "5 6 7", "5 6 7 8"
    pairs = [(fits, fits), (too_long, fits), (fits, too_long), ("", fits), (fits, " "), ("9", "9")]
    store = build(tmp_path / "store", pairs, max_length=4)  # three and </s>
    record = store.record
    assert (record.num_read, record.num_pairs, record.num_too_long, record.num_empty) == (6, 2, 2, 2)
    assert record.first_too_long == (2, 3)
    assert [store.source(index).tolist() for index in range(2)] == [[5, 6, 7], [9]]


def test_only_the_first_ten_too_long_are_named(tmp_path: Path) -> None:
    store = build(tmp_path / "store", [("5", "5"), ("5 5 5", "5")] * 3_000, max_length=2)
    assert (store.record.num_too_long, store.record.first_too_long) == (3_000, tuple(range(2, 22, 2)))


def test_a_block_ends_early_at_long_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_writer, "BLOCK_CHARACTERS", 100)
    seen: list[int] = []
    pairs = [("5 " * 60, "6")] * 4
    store = build_store(tmp_path / "store", pairs, WordNumbers(), 99, seen.append)
    assert seen == [1, 2, 3, 4]
    assert store.source(3).tolist() == [5] * 60


@pytest.mark.parametrize(
    ("source_size", "target_size", "dtype"),
    [(65_535, 65_535, "uint16"), (65_536, 10, "uint32"), (10, 70_000, "uint32")],
)
def test_ids_are_stored_as_narrow_as_both_vocabularies_allow(
    tmp_path: Path, source_size: int, target_size: int, dtype: str
) -> None:
    text = WordNumbers(source_size, target_size)
    pair = (str(source_size - 1), str(target_size - 1))
    store = build_store(tmp_path / "store", [pair], text, 5)
    assert store.record.dtype == dtype
    assert (store.source(0).tolist(), store.target(0).tolist()) == ([source_size - 1], [target_size - 1])
    assert (tmp_path / "store" / "source.tokens").stat().st_size == np.dtype(dtype).itemsize


def test_nothing_kept_is_an_empty_store(tmp_path: Path) -> None:
    build(tmp_path / "store", [("", "5")])
    store = TokenStore.open(tmp_path / "store")
    assert len(store) == 0
    assert store.source_lengths(0, 5).tolist() == []


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def extend(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0\0")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x80  # in the record this is no UTF-8
    path.write_bytes(data)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", [truncate, extend, flip, Path.unlink])
def test_a_damaged_store_is_found_out_and_built_again(
    tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    pairs = random_pairs(50)
    first = open_or_build(tmp_path, "ab12", lambda folder: build(folder, pairs))
    expected = [first.source(index).tolist() for index in range(50)]
    damage(tmp_path / "ab12" / name)
    with pytest.raises(DataError, match="store"):
        TokenStore.open(tmp_path / "ab12")
    said: list[str] = []
    again = open_or_build(tmp_path, "ab12", lambda folder: build(folder, pairs), said.append)
    assert [again.source(index).tolist() for index in range(50)] == expected
    assert len(said) == 1
    assert len(TokenStore.open(tmp_path / "ab12")) == 50


def test_a_whole_store_is_not_built_again_and_another_key_is(tmp_path: Path) -> None:
    built: list[str] = []

    def make(folder: Path) -> TokenStore:
        built.append(folder.name)
        return build(folder, [("5", "6")])

    said: list[str] = []
    for key in ("a", "a", "b", "a"):
        open_or_build(tmp_path / "deep" / "root", key, make, said.append)
    assert (built, said) == (["a", "b"], [])


def test_a_build_that_breaks_off_leaves_the_old_store_and_nothing_else(tmp_path: Path) -> None:
    build(tmp_path / "store", [("5", "6")])

    def broken() -> Iterator[tuple[str, str]]:
        yield from random_pairs(3_000)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_store(tmp_path / "store", broken(), WordNumbers(), 50)
    assert names(tmp_path) == ["store"]
    assert TokenStore.open(tmp_path / "store").source(0).tolist() == [5]


def test_a_full_disk_is_said_with_the_place_and_the_free_bytes(tmp_path: Path) -> None:
    def full() -> Iterator[tuple[str, str]]:
        yield from random_pairs(3_000)
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(ResourceError, match=r"store: no space .*\nNeeded: more than [\d,]+ bytes.* free there: [\d,]+"):
        build_store(tmp_path / "store", full(), WordNumbers(), 50)
    assert names(tmp_path) == []


def test_what_killed_builds_left_is_removed_and_what_live_ones_write_is_not(tmp_path: Path) -> None:
    dead = os.fork()
    if dead == 0:
        os._exit(0)
    os.waitpid(dead, 0)
    for pid in (dead, os.getppid(), os.getpid()):
        (tmp_path / f"store.tmp-{pid}").mkdir()
        (tmp_path / f"store.tmp-{pid}" / "source.tokens").write_bytes(b"12")
    build(tmp_path / "store", [("5", "6")])
    assert names(tmp_path) == ["store", f"store.tmp-{os.getppid()}"]


def test_the_record_is_written_when_all_else_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def traced_fsync(descriptor: int) -> None:
        link = Path(f"/proc/self/fd/{descriptor}")
        events.append(link.readlink().name if link.exists() else "?")
        fsync(descriptor)

    def traced_rename(path: Path, to: Path) -> Path:
        events.append("rename")
        return rename(path, to)

    monkeypatch.setattr(os, "fsync", traced_fsync)
    monkeypatch.setattr(Path, "rename", traced_rename)
    build(tmp_path / "store", [("5", "6")])
    if "?" not in events:
        assert events == [*FILES, f"store.tmp-{os.getpid()}", "rename", tmp_path.name]


class FourWords(WordNumbers):
    """Be quick also while each allocation is traced."""

    row = [300, 400, 500, 600]  # noqa: RUF012

    def encode_source(self, texts: Sequence[str]) -> list[list[int]]:
        return [self.row] * len(texts)

    encode_target = encode_source


def test_memory_stays_flat_while_building(tmp_path: Path) -> None:
    pairs = ((f"{number} 400 500 600", "301 302 303 304") for number in range(60_000))
    gc.collect()
    tracemalloc.start()
    store = build_store(tmp_path / "store", pairs, FourWords(), 50)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(store) == 60_000
    assert peak < 2_000_000  # the texts alone would be several times as much


def naive(sources: list[list[int]], targets: list[list[int]]) -> tuple[list[list[int]], ...]:
    def padded(rows: list[list[int]]) -> list[list[int]]:
        width = max(map(len, rows))
        return [row + [PAD] * (width - len(row)) for row in rows]

    return (
        padded([[*row, EOS] for row in sources]),
        padded([[*row, EOS] for row in targets]),
        padded([[BOS, *row] for row in targets]),
        padded([[1] * (len(row) + 1) for row in sources]),
        padded([[1] * (len(row) + 1) for row in targets]),
    )


def parts(batch: Batch) -> tuple[list[list[int]], ...]:
    source, target = batch.source, batch.target
    for tensor in (source.tokens, target.labels, target.inputs):
        assert tensor.dtype == torch.int64
    for mask in (source.mask, target.mask):
        assert mask.dtype == torch.bool
    tensors = (source.tokens, target.labels, target.inputs, source.mask.long(), target.mask.long())
    return tuple(tensor.tolist() for tensor in tensors)


def test_a_batch_is_what_the_naive_way_makes(tmp_path: Path) -> None:
    pairs, text = random_pairs(300, seed=3), WordNumbers()
    store = build(tmp_path / "store", pairs)
    draws = np.random.default_rng(5)
    for size in (1, 2, 7, 300):
        indices = draws.permutation(300)[:size]
        sources = text.encode_source([pairs[index][0] for index in indices])
        targets = text.encode_target([pairs[index][1] for index in indices])
        expected = naive(sources, targets)
        assert parts(collate(store, indices)) == expected
        assert parts(collate_pairs(plain_sources(sources), targets)) == expected
        alone = collate_sources(plain_sources(sources))
        assert (alone.tokens.tolist(), alone.mask.long().tolist()) == (expected[0], expected[3])


def test_empty_sentences_are_their_end_alone() -> None:
    batch = collate_pairs(plain_sources([[], [7, 8]]), [[9], []])
    assert parts(batch) == naive([[], [7, 8]], [[9], []])
    assert collate_sources(plain_sources([[]])).tokens.tolist() == [[EOS]]
