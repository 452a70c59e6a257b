"""Promises of the page of a run: it can be drawn from any rows, shows all curves and samples, and escapes all text."""

import math
import re
import xml.etree.ElementTree as ElementTree
from itertools import pairwise
from typing import Any

import pytest

from calque.report.chart import Series, line_chart, nice_ticks, thin
from calque.report.training import best_row, training_page

SVG = "{http://www.w3.org/2000/svg}"
ATTACK = "<script>alert(1)</script>"


def train_row(step: int, loss: Any) -> dict[str, Any]:
    return {"kind": "train", "step": step, "loss": loss, "lr": 1e-3 / step, "grad_norm": 1.0, "tokens": 4096}


def valid_row(step: int, bleu: Any, output: str, best: bool) -> dict[str, Any]:
    samples = [{"source": "a dog", "reference": "一只狗", "output": output}]
    return {"kind": "valid", "step": step, "loss": 9 / step, "scores": {"BLEU": bleu}, "best": best, "samples": samples}


def run_rows() -> list[dict[str, Any]]:
    rows = [train_row(step, 10 / step) for step in range(1, 101)]
    return [
        *rows,
        valid_row(40, 10.0, "狗狗", True),
        valid_row(80, 20.0, "一只狗", True),
        valid_row(100, 19.0, "只狗", False),
    ]


def text_of(page: str) -> str:
    return " ".join(ElementTree.fromstring(page).itertext())


def figures(page: str) -> dict[str, ElementTree.Element]:
    return {figure.find("figcaption/b").text or "": figure for figure in ElementTree.fromstring(page).iter("figure")}  # type: ignore[union-attr]


def test_a_run_is_shown_whole() -> None:
    page = training_page("pairs", {"Data": "pairs.tsv", "Machine": "2 cores"}, run_rows(), [])
    text = text_of(page)
    for part in (
        "pairs.tsv",
        "2 cores",
        "a dog",
        "一只狗",
        "只狗",
        "Best at step 80",
        "Best, step 80",
        "Last, step 100",
    ):
        assert part in text
    assert list(figures(page)) == ["Loss per target token", "BLEU", "Learning rate", "Gradient norm"]
    loss = figures(page)["Loss per target token"]
    assert [path.get("class") for path in loss.iter(f"{SVG}path")] == ["first", "second"]
    assert len([dot for dot in loss.iter(f"{SVG}circle") if dot.get("class") == "second"]) == 3


def test_the_best_is_ringed_where_its_point_lies() -> None:
    chart = figures(training_page("", {}, run_rows(), []))["BLEU"]
    dots = [dot for dot in chart.iter(f"{SVG}circle") if dot.get("class") == "second"]
    ring = next(dot for dot in chart.iter(f"{SVG}circle") if dot.get("class") == "ring")
    assert (ring.get("cx"), ring.get("cy")) == (dots[1].get("cx"), dots[1].get("cy"))
    heights = [float(dot.get("cy", "")) for dot in dots]
    assert heights[1] < heights[2] < heights[0], "a better score is drawn higher"


def test_given_samples_take_the_place_of_those_of_the_best_validation() -> None:
    samples = [{"source": "a dog", "reference": "一只狗", "output": "given"}, {"source": "new", "output": "fresh"}]
    text = text_of(training_page("", {}, run_rows(), samples))
    assert "given" in text
    assert "fresh" in text


def test_a_history_lists_each_change_once() -> None:
    rows = [valid_row(1, 1.0, "x", True), valid_row(2, 1.0, "x", False), valid_row(3, 2.0, "y", True)]
    details = list(ElementTree.fromstring(training_page("", {}, rows, [])).iter("details"))
    assert len(details) == 1
    assert [cell.text for cell in details[0].iter("td")] == ["1", "x", "3", "y"]


def test_no_text_becomes_markup() -> None:
    row = valid_row(1, 2.0, ATTACK, True)
    row["scores"] = {ATTACK: 1.0}
    row["samples"][0].update(source=ATTACK, reference=ATTACK)
    later = {**row, "step": 2, "best": False, "samples": [{**row["samples"][0], "output": f"{ATTACK}2"}]}
    page = training_page(ATTACK, {ATTACK: ATTACK}, [row, later], [])
    ElementTree.fromstring(page)
    assert "<script" not in page
    assert not re.search(r"\b(src|href)=", page)


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [{}],
        [{"kind": "train"}],
        [{"kind": "valid"}],
        [{"kind": "valid", "step": 1, "loss": None, "scores": None, "samples": None, "best": True}],
        [train_row(1, math.nan), train_row(2, math.inf), train_row(3, None), train_row(4, "NaN"), train_row(5, 1e300)],
        [train_row(1, 2.0)],
        [train_row(1, 0.0), train_row(2, 0.0)],
        [valid_row(1, math.nan, "", False)],
        [valid_row(1, -3.5, "x", True)],
    ],
)
def test_any_rows_give_a_page_without_bad_numbers(rows: list[dict[str, Any]]) -> None:
    page = training_page("", {}, rows, [])
    for element in ElementTree.fromstring(page).iter():
        for name in ("d", "cx", "cy", "x", "y", "x1", "y1"):
            assert "nan" not in element.get(name, "")
            assert "inf" not in element.get(name, "")


def test_a_hole_in_the_loss_is_a_gap_and_is_counted() -> None:
    rows = [train_row(step, math.nan if 4 <= step <= 6 else 1.0) for step in range(1, 11)]
    page = training_page("", {}, rows, [])
    path = next(figures(page)["Loss per target token"].iter(f"{SVG}path"))
    assert path.get("d", "").count("M") == 2
    assert "left out of the curves: 3" in text_of(page)


def test_thinning_keeps_the_mean_and_the_limit() -> None:
    points = [(float(step), math.sin(step)) for step in range(10_000)]
    few = thin(points, 100)
    assert len(few) == 100
    assert sum(y for _, y in few) / 100 == pytest.approx(sum(y for _, y in points) / 10_000)
    assert thin(points[:50], 100) == points[:50]


@pytest.mark.parametrize(
    "values", [[0.0], [5.0], [-1e-12], [1e29, 0.0], [-3, 8], [0.1, 0.3], [9.99, 10.01], [1e-7, 2e-7]]
)
def test_ticks_are_even_enclose_the_values_and_are_few(values: list[float]) -> None:
    ticks = nice_ticks(values)
    gaps = [after - before for before, after in pairwise(ticks)]
    slack = 1e-6 * gaps[0]
    assert 2 <= len(ticks) <= 9
    assert ticks[0] <= min(values) + slack
    assert ticks[-1] >= max(values) - slack
    assert max(gaps) == pytest.approx(min(gaps), rel=1e-3)


def test_a_curve_stays_within_its_picture() -> None:
    chart = line_chart("c", [Series("s", [(float(step), (-1.0) ** step * step) for step in range(1000)], "first")])
    svg = ElementTree.fromstring(chart).find(f"{SVG}svg")
    assert svg is not None
    _, _, width, height = (float(value) for value in svg.get("viewBox", "").split())
    numbers = re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", svg.find(f"{SVG}path").get("d", ""))  # type: ignore[union-attr]
    assert len(numbers) > 100
    assert all(0 <= float(x) <= width and 0 <= float(y) <= height for x, y in numbers)


def test_the_best_row_is_the_last_one_marked() -> None:
    rows = [row for row in run_rows() if row["kind"] == "valid"]
    assert best_row(rows) is rows[1]
    assert best_row([]) is None
