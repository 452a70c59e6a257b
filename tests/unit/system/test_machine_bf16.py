"""The choice of bf16: by the processor's instructions, and the same under load as at rest."""

import multiprocessing
from pathlib import Path

import pytest

from calque.system import machine
from calque.system.machine import has_bf16_instructions, probe

NEW = "processor\t: 0\nflags\t\t: fpu sse avx512f avx512_bf16 avx2\n\nprocessor\t: 1\n"
OLD = "processor\t: 0\nflags\t\t: fpu sse avx2 avx512f\nbugs\t\t: avx512_bf16\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (NEW, True),
        (NEW.replace("avx512_bf16", "amx_bf16"), True),
        (OLD, False),
        ("", False),
        ("Features\t: bf16\n", False),
    ],
)
def test_the_processors_flags_tell_whether_it_multiplies_bf16(text: str, expected: bool, tmp_path: Path) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(text, encoding="utf-8")
    assert has_bf16_instructions(path) is expected
    assert not has_bf16_instructions(tmp_path / "none")


def test_without_the_instructions_no_measurement_chooses_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "has_bf16_instructions", lambda: False)
    monkeypatch.setattr(machine, "_bf16_ratio", lambda: 212.0)
    monkeypatch.setattr(machine, "gpu_name", lambda: "")
    assert not probe().prefers_bf16


def spin() -> None:
    while True:
        pass


@pytest.mark.skipif(not has_bf16_instructions(), reason="without the instructions nothing is measured")
@pytest.mark.parametrize("repeats", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_under_load_the_choice_stays(repeats: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "gpu_name", lambda: "")
    expected = probe().prefers_bf16
    busy = [multiprocessing.get_context("fork").Process(target=spin, daemon=True) for _ in range(2)]
    for process in busy:
        process.start()
    try:
        assert [probe().prefers_bf16 for _ in range(repeats)] == [expected] * repeats
    finally:
        for process in busy:
            process.kill()
            process.join()
