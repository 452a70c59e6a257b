"""Promises of the displays: what a file gets, what a terminal gets, and how near the time left comes."""

import io
import math
import random
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise

import pytest
from rich.cells import cell_len
from rich.console import Console

from calque.report.live import LiveDisplay, LiveLine, fit
from calque.report.progress import (
    Display,
    PlainDisplay,
    SilentDisplay,
    UpdateEvent,
    ValidEvent,
    display_for,
    duration,
    update_fields,
)
from calque.report.time_left import TimeLeft


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Gone(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError

    def isatty(self) -> bool:
        return True


def update(step: int, total: int | None = 1000, best: str = "BLEU 31.20", left: float | None = 60.0) -> UpdateEvent:
    return UpdateEvent(step, total, 1, 2.5, 7e-4, 18_400.0, best, left)


VALID = ValidEvent(40, 2.1, {"BLEU": 31.2, "chrF": 28.0}, True, "a [red]dog\x1b[31m\r\n", "一只狗", "狗")


def test_plain_lines_hold_no_control_characters_and_updates_keep_their_distance() -> None:
    stream, clock = io.StringIO(), Clock()
    times: list[float] = []
    validations: list[float] = []
    with PlainDisplay(stream, clock) as display:
        display.note("bf16: \x1b[1mthis machine has it\r")
        for step in range(1, 400):
            clock.now += 0.37
            before = stream.getvalue().count("step ")
            display.update(update(step))
            if stream.getvalue().count("step ") > before:
                times.append(clock.now)
            if step % 100 == 0:
                display.validated(VALID)
                validations.append(clock.now)
    text = stream.getvalue()
    assert times[0] == pytest.approx(100.37), "the first loss comes at once"
    assert min(after - before for before, after in pairwise(times)) >= 10
    assert all(not 0 <= now - validation < 10 for now in times for validation in validations)
    assert len(times) >= 8
    assert set("\r\x1b").isdisjoint(text)
    lines = text.splitlines()
    assert sum(line.startswith("validation at step 40 ") for line in lines) == 3
    assert len(lines) == 1 + len(times) + 3
    assert all(line.isprintable() for line in lines)


def test_plain_validation_is_one_line_with_scores_and_sample() -> None:
    stream = io.StringIO()
    PlainDisplay(stream).validated(VALID)
    (line,) = stream.getvalue().splitlines()
    for part in ("31.20", "28.00", "best so far", "[red]dog", "→ 狗", "一只狗"):
        assert part in line


def test_a_stream_that_cannot_say_it_or_has_gone_does_not_end_the_run() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii", write_through=True)
    PlainDisplay(stream).validated(VALID)
    assert b"\\u72d7" in raw.getvalue()
    closed = io.StringIO()
    closed.close()
    for display in PlainDisplay(Gone()), PlainDisplay(closed), LiveDisplay(Gone()):
        with display:
            for step in range(3):
                display.note("note")
                display.update(update(step))
                display.validated(VALID)


def live_text(width: int, monkeypatch: pytest.MonkeyPatch, run: Callable[[Display], None]) -> str:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("LINES", "24")
    stream = Terminal()
    with LiveDisplay(stream, Clock()) as display:
        run(display)
    return stream.getvalue()


def test_the_live_display_shows_notes_scores_and_samples_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(display: Display) -> None:
        display.note("[bold]note[/bold] :smile: \x1b[41m")
        display.update(update(1))
        display.validated(VALID)

    text = live_text(120, monkeypatch, run)
    for part in ("[bold]note[/bold] :smile:", "step 1/1,000", "31.20", "[red]dog", "一只狗", "best so far"):
        assert part in text
    assert "\x1b[41m" not in text
    assert text.rstrip("\r\n").endswith("\x1b[?25h"), "the cursor is given back"


def test_the_live_line_is_drawn_at_most_five_times_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    stream, clock = Terminal(), Clock()
    with LiveDisplay(stream, clock) as display:
        for step in range(1, 101):
            clock.now += 0.01
            display.update(update(step))
        drawn = stream.getvalue().count("loss 2.500")
    assert 4 <= drawn <= 7


def test_no_color_takes_the_colours_and_leaves_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    with_colour = live_text(100, monkeypatch, lambda display: display.validated(VALID))
    monkeypatch.setenv("NO_COLOR", "1")
    without = live_text(100, monkeypatch, lambda display: display.validated(VALID))
    assert "\x1b[1;32m" in with_colour
    assert "32m" not in without


@pytest.mark.parametrize("width", [10, 30, 60, 80, 200])
@pytest.mark.parametrize("event", [update(1), update(999_999, None), update(5, 10, "很好的分数" * 3, None)])
def test_the_live_line_never_wraps(width: int, event: UpdateEvent) -> None:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    console.print(LiveLine(event))
    lines = console.file.getvalue().rstrip("\n").split("\n")  # type: ignore[attr-defined]
    assert len(lines) == 1
    assert cell_len(lines[0]) <= width


def test_what_matters_most_is_dropped_last() -> None:
    fields = update_fields(update(1))
    widths = range(cell_len("  ".join(fields)) + 8, 0, -1)
    kept = [set(fit(fields, width)) for width in widths]
    assert kept[0] == set(fields)
    assert kept[-1] == {fields[0]}
    assert all(after <= before for before, after in pairwise(kept))


def test_unknown_facts_are_left_out() -> None:
    line = "  ".join(update_fields(update(7, None, "", None)))
    for part in ("None", "best", "left", "/"):
        assert part not in line.replace("tok/s", "")
    assert "nan" in "  ".join(update_fields(UpdateEvent(1, 2, 1, math.nan, 0.0, 0.0, "", math.nan)))


@pytest.mark.parametrize(
    ("stream", "quiet", "term", "kind"),
    [
        (Terminal(), False, "xterm", LiveDisplay),
        (Terminal(), False, "dumb", PlainDisplay),
        (Terminal(), False, "", PlainDisplay),
        (io.StringIO(), False, "xterm", PlainDisplay),
        (Terminal(), True, "xterm", SilentDisplay),
        (io.StringIO(), True, "dumb", SilentDisplay),
    ],
)
def test_the_display_suits_the_stream(
    stream: io.StringIO, quiet: bool, term: str, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", term)
    monkeypatch.setenv("FORCE_COLOR", "1")
    display = display_for(stream, quiet)
    assert type(display) is kind


def test_silence_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with SilentDisplay() as display:
        display.note("x")
        display.update(update(1))
        display.validated(VALID)
    assert capsys.readouterr() == ("", "")


def test_rich_and_numpy_are_not_imported_until_needed() -> None:
    code = "import sys, calque.report.progress, calque.report.training, calque.report.card; "
    code += "print([name for name in ('rich', 'numpy', 'matplotlib', 'torch') if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize(("seconds", "text"), [(-3, "0 s"), (45.2, "45 s"), (720, "12 min"), (11_100, "3 h 05 min")])
def test_durations_are_said_as_a_person_would(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def simulate(
    total: int, pause_every: int, pause: float, seconds: Callable[[int], float], first: int = 0
) -> list[tuple]:
    """Return (step, when it ended, the estimate there) of each step, and the end of the run last."""
    estimate, now, seen = TimeLeft(total, pause_every), 1000.0, []
    for step in range(first + 1, total + 1):
        now += seconds(step)
        seen.append((step, now, estimate.updated(step, now)))
        if step % pause_every == 0 or step == total:
            now += pause
            estimate.paused(pause)
    return [*seen, (total + 1, now, 0.0)]


def worst(seen: list[tuple], first: int, total: int, until: float = 1.0) -> float:
    end = seen[-1][1]
    tenth = first + (total - first) / 10
    checked = [(left, end - now) for step, now, left in seen[:-1] if tenth <= step <= until * total and end > now]
    assert len(checked) > 5
    return max(abs(left - truth) / truth for left, truth in checked)


@pytest.mark.parametrize(("total", "pause_every"), [(1000, 50), (5000, 70), (200, 10), (20_000, 1000)])
@pytest.mark.parametrize("pause", [0.0, 5.0, 60.0])
@pytest.mark.parametrize("is_resumed", [False, True])
def test_time_left_of_a_steady_run_is_near_from_a_tenth_on(
    total: int, pause_every: int, pause: float, is_resumed: bool
) -> None:
    first = pause_every if is_resumed else 0
    assert worst(simulate(total, pause_every, pause, lambda step: 1.4, first), first, total) < 0.01


def test_rare_pauses_count_as_soon_as_one_was_seen() -> None:
    seen = simulate(1000, 250, 100.0, lambda step: 1.4)
    assert worst([entry for entry in seen if entry[0] > 250], 0, 1000) < 0.01


@pytest.mark.parametrize("seed", range(5))
def test_time_left_stands_slow_first_steps_and_uneven_ones(seed: int) -> None:
    uneven = random.Random(seed)

    def seconds(step: int) -> float:
        return (20.0 if step <= 3 else 1.4) * uneven.uniform(0.7, 1.3)

    assert worst(simulate(1000, 50, 30.0, seconds), 0, 1000, until=0.95) < 0.2


def test_time_left_without_the_rhythm_of_pauses_uses_those_seen() -> None:
    estimate, now, seen = TimeLeft(2000), 0.0, []
    for step in range(1, 2001):
        now += 1.0
        seen.append((step, now, estimate.updated(step, now)))
        if step % 25 == 0:
            now += 10.0
            estimate.paused(10.0)
    assert worst([*seen, (2001, now, 0.0)], 0, 2000, until=0.95) < 0.2


def test_time_left_is_unknown_at_first_and_never_negative() -> None:
    estimate = TimeLeft(10)
    assert estimate.updated(1, 5.0) is None
    assert estimate.updated(1, 6.0) is None
    assert estimate.updated(12, 20.0) == 0.0


def test_time_left_keeps_few_marks() -> None:
    estimate = TimeLeft(100_000)
    for step in range(1, 20_001):
        left = estimate.updated(step, step * 0.5)
    assert left == pytest.approx(40_000.0)
    assert len(estimate._steps) <= 513
