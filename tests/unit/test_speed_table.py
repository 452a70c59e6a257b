"""The pure parts of benchmarks/speed: rounds in turn, rates, ratios, operations, the table. No peer is needed."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.speed import measure, table, work
from benchmarks.speed.rounds import Plan, interleave, turned
from benchmarks.speed.training import rate

sys.path.pop(0)

ADAPTERS = Path(__file__).parents[2] / "benchmarks" / "speed" / "adapters"
FAST, SLOW = {"workers": 1, "threads": 2}, {"workers": 1, "threads": 1}
Call = tuple[str, int, int]


class Bench:
    """Answer measurements from a table of rates, and remember what was asked."""

    def __init__(self, rates: dict[tuple[str, int], float | None]) -> None:
        self.rates = rates
        self.calls: list[Call] = []

    def __call__(self, name: str, setting: Any, number: int) -> float | None:
        self.calls.append((name, setting["threads"], number))
        return self.rates[name, setting["threads"]]


def test_every_round_runs_every_system_once_at_its_best() -> None:
    bench = Bench({("a", 2): 5.0, ("a", 1): 9.0, ("b", 2): 4.0, ("b", 1): 3.0})
    best = interleave({"a": [FAST, SLOW], "b": [FAST, SLOW]}, Plan(rounds=5), bench)
    assert best == {"a": SLOW, "b": FAST}
    assert sorted(bench.calls[:4]) == [("a", 1, 0), ("a", 2, 0), ("b", 1, 0), ("b", 2, 0)]
    for number in range(1, 6):
        assert sorted(call for call in bench.calls if call[2] == number) == [("a", 1, number), ("b", 2, number)]


def test_the_first_of_a_round_changes() -> None:
    bench = Bench({(name, 2): 1.0 for name in "abc"})
    interleave({name: [FAST] for name in "abc"}, Plan(rounds=3, sweep=False), bench)
    assert [name for name, _, _ in bench.calls[::3]] == ["a", "b", "c"]


def test_a_system_that_fails_leaves_the_others() -> None:
    bench = Bench({("a", 2): None, ("a", 1): None, ("b", 2): None, ("b", 1): 3.0})
    best = interleave({"a": [FAST, SLOW], "b": [FAST, SLOW]}, Plan(rounds=2), bench)
    assert best == {"b": SLOW}
    assert [call for call in bench.calls if call[2]] == [("b", 1, 1), ("b", 1, 2)]


@given(st.lists(st.integers(), unique=True), st.integers(0, 9))
def test_turning_keeps_names_and_their_circle(names: list[int], by: int) -> None:
    moved = turned(names, by)
    assert sorted(moved) == sorted(names)
    assert turned(moved, len(names) - by % len(names) if names else 0) == names


def test_the_rate_leaves_the_warmup_out() -> None:
    slow_start = [(30.0, {"update": 1, "tokens": 400}), (40.0, {"update": 2, "tokens": 400})]
    steady = [(42.0, {"update": 3, "tokens": 500}), (44.0, {"update": 4, "tokens": 300})]
    events = [(0.0, {"versions": {}}), *slow_start, *steady]
    assert rate(events, 2)["rate"] == 200.0
    assert rate(events, 2)["tokens"] == 400.0
    with pytest.raises(measure.ChildError, match="after 4 updates"):
        rate(events, 4)


def test_ratios_pair_the_rounds_that_both_have() -> None:
    assert table.ratios({1: 6.0, 2: 8.0, 3: 5.0}, {1: 3.0, 2: 2.0}) == [2.0, 4.0]


@given(st.lists(st.floats(0.5, 1e6), min_size=1))
def test_a_spread_begins_with_the_median_and_holds_the_range(values: list[float]) -> None:
    words = table.spread(values, ".3f")
    numbers = [float(word) for word in words.replace("[", " ").replace("]", "").replace("–", " ").split()]
    middle, low, high = numbers * 3 if len(numbers) == 1 else numbers
    assert low <= middle <= high
    assert sum(value <= middle + 1e-3 for value in values) * 2 >= len(values)


def _training(run: str, system: str, number: int, rate: float) -> dict[str, Any]:
    task = {"architecture": "transformer", "precision": "fp32", "setting": FAST}
    about = {"run": run, "kind": "train", "system": system, "round": number, **task}
    return {**about, "rate": rate, "tokens": 4096.0, "peak_bytes": 10**9, "operations": 1e8}


def test_figures_of_two_invocations_are_never_mixed() -> None:
    old = [_training("1", "calque", 1, 111_111.0), _training("1", "marian", 1, 5.0)]
    new = [_training("2", "calque", 1, 2_000.0), _training("2", "marian", 1, 1_000.0)]
    shown = table.markdown([*old, *new])
    assert "111,111" not in shown
    assert "2.00" in shown


def test_the_sweep_does_not_count_where_rounds_were_run() -> None:
    records = [_training("1", "calque", 0, 77_777.0), _training("1", "calque", 1, 10.0)]
    assert table.rates(records) == {"calque": {1: 10.0}}
    assert table.rates(records[:1]) == {"calque": {0: 77_777.0}}


def test_a_failure_stands_in_the_table() -> None:
    failed = {"run": "1", "kind": "train", "system": "joeynmt", "round": 0, "setting": {}, "architecture": "lstm"}
    records = [_training("1", "calque", 1, 10.0), {**failed, "architecture": "transformer", "precision": "fp32"}]
    records[1]["failure"] = "ImportError: no such thing"
    assert "joeynmt: `ImportError: no such thing`" in table.markdown(records)


def test_a_system_that_cannot_decode_at_all_stands_in_the_table() -> None:
    absent = {"run": "1", "kind": "decode", "system": "ctranslate2 fp32", "round": 0, "failure": "not installed"}
    assert "ctranslate2 fp32: `not installed`" in table.markdown([absent])


def test_the_share_of_the_roof_is_work_over_what_the_silicon_gives() -> None:
    roof = {"run": "1", "kind": "roof", "roof": "square", "type": "fp32", "threads": 2, "gflops": 2_000.0}
    shown = table.markdown([roof, _training("1", "calque", 1, 10_000.0)])
    assert "| 50% |" in shown


@pytest.mark.parametrize("name", ["transformer", "lstm"])
def test_operations_are_those_that_torch_counts(name: str) -> None:
    source, target, rows, pieces, width = 13, 11, 2, 500, 64
    lengths = work.Lengths(source, target)
    if name == "transformer":
        said = work.transformer(lengths, width=width, inner=128, layers=2, pieces=pieces)
    else:
        said = work.lstm(lengths, width=width, layers=2, pieces=pieces)
    # The counter does not see into fused attention.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        _forward(name, rows, source, target, pieces, width)
    counted = work.FORWARD_AND_BACK * counter.get_total_flops() / (rows * target)
    assert said == pytest.approx(counted, rel=0.02)


def test_a_translation_is_a_forward_pass_but_for_what_lies_ahead() -> None:
    lengths, shape = work.Lengths(13, 11), work.Shape(2, 2, 64, 128, 500)
    forward = work.transformer(lengths, 64, 128, 2, 500) * lengths.target / work.FORWARD_AND_BACK
    ahead = shape.decoder * 2 * 2 * shape.width * lengths.target**2 / 2
    assert work.translation(lengths, shape, 1) == pytest.approx(forward - ahead)


def test_each_hypothesis_costs_as_much_as_the_first() -> None:
    costs = [work.translation(work.Lengths(13, 11), work.Shape(2, 3, 64, 128, 500), beam) for beam in (1, 2, 3)]
    assert costs[2] - costs[1] == pytest.approx(costs[1] - costs[0])
    assert costs[1] - costs[0] < costs[0]


def _forward(name: str, rows: int, source: int, target: int, pieces: int, width: int) -> None:
    """Run the textbook's model forward, of plain products where the counter knows no fused ones."""
    memory, words = torch.randn(rows, source, width), torch.randn(rows, target, width)
    vocabulary = torch.randn(pieces, width)
    if name == "transformer":
        encoder = torch.nn.TransformerEncoderLayer(width, 2, 128, 0.0, batch_first=True)
        decoder = torch.nn.TransformerDecoderLayer(width, 2, 128, 0.0, batch_first=True)
        for _ in range(2):
            memory = encoder(memory)
        for _ in range(2):
            words = decoder(words, memory)
    else:
        for size in (width // 2, width // 2, width):
            gates = torch.randn(4 * size, width + size)
            read = memory if size < width else words
            for _ in range(2):
                for position in range(read.shape[1]):
                    torch.nn.functional.linear(torch.cat([read[:, position], read[:, position, :size]], 1), gates)
        keys = torch.nn.functional.linear(memory, torch.randn(width, width))
        context = torch.bmm(torch.bmm(words, keys.transpose(1, 2)).softmax(2), memory)
        words = torch.nn.functional.linear(torch.cat([words, context], 2), torch.randn(width, 2 * width))
    torch.nn.functional.linear(words, vocabulary)


SHOUT = """
import sys
sys.path.insert(0, {folder!r})
from common import decode, read_job

def load(job):
    if job["broken"]:
        raise ValueError("no model")
    return lambda lines: [line.upper() for line in lines]

if __name__ == "__main__":
    decode(read_job(), load)
"""


def _shout(tmp_path: Path, lines: list[str], workers: int, broken: bool = False) -> list[str]:
    """Run an adapter that answers in capitals; return the file of its answers."""
    adapter, job = tmp_path / "shout.py", tmp_path / "job.json"
    adapter.write_text(SHOUT.format(folder=str(ADAPTERS)), encoding="utf-8")
    places = {"lines": str(tmp_path / "lines"), "answers": str(tmp_path / "answers")}
    (tmp_path / "lines").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    job.write_text(json.dumps({**places, "workers": workers, "warmup": 1, "broken": broken}), encoding="utf-8")
    command = [sys.executable, str(adapter), str(job)]
    watched = measure.watch(measure.Child(command, measure.environment(1), tmp_path / "log", 120.0))
    assert watched.said("sentences") == [len(lines)]
    assert watched.said("seconds")[0] > 0
    return (tmp_path / "answers").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_answers_of_several_processes_come_in_the_order_of_the_lines(tmp_path: Path, workers: int) -> None:
    lines = ["a", "b c", "d", "e", "ä"]
    assert _shout(tmp_path, lines, workers) == [line.upper() for line in lines]


def test_a_process_that_cannot_load_ends_them_all(tmp_path: Path) -> None:
    with pytest.raises(measure.ChildError, match="no model"):
        _shout(tmp_path, ["a", "b"], 2, broken=True)


@pytest.fixture
def child(tmp_path: Path) -> Any:
    def make(script: str) -> measure.Child:
        return measure.Child([sys.executable, "-u", "-c", script], measure.environment(1), tmp_path / "log")

    return make


def test_messages_are_read_and_the_rest_is_log(child: Any, tmp_path: Path) -> None:
    watched = measure.watch(child('print("hello"); print("@" + \'{"update": 1, "tokens": 7}\')'))
    assert watched.said("tokens") == [7]
    assert "hello" in (tmp_path / "log").read_text()


def test_a_child_is_ended_once_it_said_enough(child: Any) -> None:
    script = 'import time\nfor n in range(1000):\n    print("@" + \'{"update": %d}\' % n); time.sleep(0.01)'
    watched = measure.watch(child(script), lambda message: message["update"] == 3)
    assert watched.said("update") == [0, 1, 2, 3]


def test_a_child_that_fails_says_why(child: Any) -> None:
    with pytest.raises(measure.ChildError, match="ValueError: no data"):
        measure.watch(child('raise ValueError("no data")'))


def test_memory_of_a_child_and_its_children_is_seen(child: Any) -> None:
    hold = "x = bytearray(b'1') * 60_000_000; import time; time.sleep(0.6)"
    alone = measure.watch(child(hold)).peak_bytes
    nested = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {json.dumps(hold)}])"
    assert alone > 60_000_000
    assert measure.watch(child(nested)).peak_bytes > alone
