"""Hold the readers to their promises: several answers, renamed columns, digests, unequal files, split and sample."""

import hashlib
import json
import random
import subprocess
import sys
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import pytest

from calque.data.files.formats import Example
from calque.data.files.readers import Columns, DataConfig, open_dataset, pairs
from calque.data.reservoir import MAX_BYTES, Reservoir
from calque.data.split import is_held_out
from calque.errors import DataError, UsageError


def write(path: Path, text: str) -> str:
    """Write `text` and return the path as the user would give it."""
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_several_right_answers(tmp_path: Path) -> None:
    """Keep a list of targets together, and give a pair for each."""
    lines = [{"source": "a", "target": ["b", "c"]}, {"source": "d", "target": "e"}]
    dataset = open_dataset([write(tmp_path / "x.jsonl", "\n".join(map(json.dumps, lines)))], Columns())
    assert list(dataset.examples()) == [Example("a", ("b", "c"), 1), Example("d", ("e",), 2)]
    assert list(pairs(dataset.examples())) == [("a", "b"), ("a", "c"), ("d", "e")]


@pytest.mark.parametrize(
    ("suffix", "text"),
    [(".tsv", "id\tzh\ten\n1\tb\ta\n"), (".csv", "id,zh,en\n1,b,a\n"), (".jsonl", '{"id": 1, "zh": "b", "en": "a"}\n')],
)
def test_columns_are_named(suffix: str, text: str, tmp_path: Path) -> None:
    """Take the named columns whatever the form, and name the nearest for a slip of the pen."""
    path = write(tmp_path / f"data{suffix}", text)
    assert list(pairs(open_dataset([path], Columns(source="en", target="zh")).examples())) == [("a", "b")]
    with pytest.raises(DataError, match='Did you mean "zh"'):
        list(open_dataset([path], Columns(source="en", target="zhh")).examples())


def test_config_is_strict() -> None:
    """Refuse unknown keys and lengths below zero."""
    assert DataConfig().columns == Columns()
    for wrong in ({"colums": {}}, {"max_length": -1}, {"columns": {"src": "x"}}):
        with pytest.raises(ValueError):
            DataConfig.model_validate(wrong)


def test_names_and_digest(tmp_path: Path) -> None:
    """Name a data set by its file and key it by its bytes."""
    one = open_dataset([write(tmp_path / "en-zh.v2.tsv", "a\tb\n")], Columns())
    assert one.name == "en-zh.v2"
    assert one.digest() == hashlib.sha256(b"a\tb\n").hexdigest()
    files = [write(tmp_path / "train.en", "a\nb\n"), write(tmp_path / "train.zh", "c\nd\n")]
    both = open_dataset(files, Columns())
    assert both.name == "train"
    first = both.digest()
    write(tmp_path / "train.en", "a\nb\nc\n")
    write(tmp_path / "train.zh", "d\n")
    # The same bytes one after the other, but cut elsewhere.
    assert both.digest() != first


def test_two_files_of_pairs(tmp_path: Path) -> None:
    """Refuse training and validation pairs given as source and target."""
    files = [write(tmp_path / "train.tsv", "a\tb\n"), write(tmp_path / "valid.tsv", "c\td\n")]
    with pytest.raises(UsageError, match="--valid"):
        open_dataset(files, Columns())


def speech(count: int, seed: int) -> tuple[list[str], list[str]]:
    """Return sources and their answers; the length of an answer follows its source's, with noise."""
    draw = random.Random(seed)
    lengths = [draw.randint(3, 30) for _ in range(count)]
    answers = [max(1, round(length * 0.6 + draw.gauss(0, 1.5))) for length in lengths]
    return ["word " * length for length in lengths], ["字" * length for length in answers]


def refused(folder: Path, source: list[str], target: list[str]) -> DataError:
    """Return the error that two such files give."""
    files = [write(folder / "x.en", "\n".join(source) + "\n"), write(folder / "x.zh", "\n".join(target) + "\n")]
    with pytest.raises(DataError) as caught:
        open_dataset(files, Columns())
    return caught.value


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("place", [30, 500, 990])
def test_unequal_by_one(side: int, place: int, tmp_path: Path) -> None:
    """Find a line that one side lacks to within a few lines."""
    both = speech(1000, place + side)
    del both[side][place - 1]
    error = refused(tmp_path, *both)
    assert abs((error.line or 0) - place) <= 6
    assert {"999", "1,000"} <= set(str(error).replace(":", " ").replace(";", " ").split())
    assert f"around line {error.line}" in str(error)


def test_unequal_by_a_tenth(tmp_path: Path) -> None:
    """Find the first of many slips, a lost block, and a cut end."""
    for seed in range(5):
        source, target = speech(2000, seed)
        lost = set(random.Random(seed).sample(range(200, 2000), 200))
        kept = [line for number, line in enumerate(target) if number not in lost]
        assert abs((refused(tmp_path, source, kept).line or 0) - 1 - min(lost)) <= 25
        assert abs((refused(tmp_path, source, target[:700] + target[900:]).line or 0) - 701) <= 6
        assert abs((refused(tmp_path, source, target[:1800]).line or 0) - 1801) <= 3


def test_unequal_without_a_trace(tmp_path: Path) -> None:
    """Name no line where lengths tell nothing."""
    error = refused(tmp_path, ["word"] * 100, ["字"] * 99)
    assert error.line is None
    assert "Compare the files" in str(error)


def test_split_is_by_source_alone() -> None:
    """Hold out a tenth, whatever stands around the source."""
    sources = [f"sentence {number}" for number in range(20000)]
    held_out = [source for source in sources if is_held_out(source)]
    assert abs(len(held_out) - 2000) < 5 * (20000 * 0.09) ** 0.5
    assert all(is_held_out(f"  {source}\r\n") == is_held_out(source) for source in sources[:100])
    # Written out once by hand from the definition.
    first = int(hashlib.sha256(b"sentence 0").hexdigest()[:16], 16)
    assert is_held_out("sentence 0") == (first * 10 < 2**64)


def sample(stream: Iterable[str], seed: int, max_bytes: int = MAX_BYTES) -> list[str]:
    """Return the lines that a reservoir keeps of a stream."""
    reservoir = Reservoir(seed, max_bytes)
    for line in stream:
        reservoir.add(line)
    return reservoir.lines()


def test_reservoir_is_bounded_repeatable_and_ordered() -> None:
    """Keep within the bound, draw alike from a seed, and keep the order of the stream."""
    stream = [f"{number:06d} " + "字" * (number % 40) for number in range(5000)]
    kept = sample(stream, seed=1, max_bytes=20_000)
    assert kept == sample(iter(stream), seed=1, max_bytes=20_000)
    assert kept != sample(stream, seed=2, max_bytes=20_000)
    assert all(left < right for left, right in pairwise(kept))
    size = sum(len(line.encode()) + 1 for line in kept)
    assert 18_000 < size <= 20_000
    assert sample(stream, seed=1) == stream
    assert sample(["x" * 99, "ab"], seed=1, max_bytes=10) == ["ab"]


def test_reservoir_is_uniform() -> None:
    """Favour neither place nor length: each line is kept about equally often."""
    stream = ["x" * (1 if number % 2 else 300) for number in range(200)]
    times = [0] * len(stream)
    for seed in range(400):
        reservoir = Reservoir(seed, max_bytes=8000)
        for number, line in enumerate(stream):
            reservoir.add(f"{line}{number:03d}")
        assert reservoir.seen == len(stream)
        for line in reservoir.lines():
            times[int(line[-3:])] += 1
    short, long, early, late = (sum(part) for part in (times[1::2], times[::2], times[:100], times[100:]))
    # Only the line at the edge of the bound is more often a long one.
    assert 1 <= short / long < 1.04
    assert abs(early / late - 1) < 0.05


def test_no_torch() -> None:
    """Read data without importing torch."""
    code = (
        "import sys, calque.data.check.dataset, calque.data.split, calque.data.reservoir; print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
