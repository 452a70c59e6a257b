"""What can be checked of a page's looks without a browser: contrast, sizes of letters, labels that do not collide."""

import re
import xml.etree.ElementTree as ElementTree
from itertools import pairwise

import pytest

from calque.report.chart import Series, line_chart
from calque.report.page import STYLE, facts_table, table
from calque.report.training import readable, training_page

SVG = "{http://www.w3.org/2000/svg}"
PHONE = 320  # pixels for a picture on a screen of 360
LONG_WORD = "Donaudampfschifffahrt" * 40


def colours(part: str) -> dict[str, tuple[float, float, float]]:
    """Return the colours of a part of the style by name, in linear light."""

    def linear(value: int) -> float:
        share = value / 255
        return share / 12.92 if share <= 0.04045 else float(((share + 0.055) / 1.055) ** 2.4)

    found = re.findall(r"(--[a-z]+): #([0-9a-f]{6})", part)
    return {name: (linear(int(c[:2], 16)), linear(int(c[2:4], 16)), linear(int(c[4:], 16))) for name, c in found}


def contrast(one: tuple[float, float, float], other: tuple[float, float, float]) -> float:
    """Return the contrast of two colours as WCAG 2 defines it, from 1 to 21."""
    low, high = sorted(0.2126 * red + 0.7152 * green + 0.0722 * blue for red, green, blue in (one, other))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("setting", [0, 1], ids=["light", "dark"])
def test_text_and_curves_stand_out(setting: int) -> None:
    found = colours(STYLE.split("prefers-color-scheme: dark")[setting])
    for name, least in {"--ink": 7, "--muted": 4.5, "--first": 3, "--second": 3, "--heat": 3}.items():
        assert contrast(found[name], found["--paper"]) >= least, name
    assert contrast(found["--ink"], found["--soft"]) >= 7


def chart_of(points: list[tuple[float, float]]) -> tuple[ElementTree.Element, float]:
    """Return the picture of a curve, and the size of the letters of its labels."""
    svg = ElementTree.fromstring(line_chart("c", [Series("s", points, "first")])).find(f"{SVG}svg")
    size = re.search(r"svg \.tick \{[^}]*font-size: (\d+)px", STYLE)
    assert svg is not None
    assert size
    return svg, float(size[1])


CURVES = {
    "small rates": [(float(step), 0.00024 / step) for step in range(1, 100)],
    "large losses": [(step * 1000.0, 1e12 / step) for step in range(1, 60)],
    "many steps": [(step * 10_000.0, float(step)) for step in range(1, 6)],
    "one point": [(4.0, 1.0)],
    "negative": [(1.0, -123456.5), (2.0, -99999.5)],
}


@pytest.mark.parametrize("points", CURVES.values(), ids=list(CURVES))
def test_labels_are_whole_and_do_not_collide(points: list[tuple[float, float]]) -> None:
    svg, size = chart_of(points)
    width = float(svg.get("viewBox", "").split()[2])
    assert size * PHONE / width >= 10, "letters are too small on a phone"
    rows: dict[str, list[tuple[float, float]]] = {}
    for text in svg.iter(f"{SVG}text"):
        # Digits of sans-serif letters are at most 0.6 as wide as they are high.
        length = len(text.text or "") * 0.6 * size
        start = float(text.get("x", "")) - {"end": length, "middle": length / 2}[text.get("text-anchor", "")]
        assert start >= 0, text.text
        assert start + length <= width, text.text
        rows.setdefault(text.get("y", ""), []).append((start, start + length))
    for row in rows.values():
        assert all(one[1] < other[0] for one, other in pairwise(sorted(row)))


def test_a_long_word_makes_no_page_wider() -> None:
    """Each table breaks words or scrolls in a box of its own, and no column is squeezed to a letter."""
    for rule in (r"^th, td \{[^}]*overflow-wrap: anywhere", r"^th, td \{[^}]*min-width: [5-9]rem"):
        assert re.search(rule, STYLE, re.MULTILINE), rule
    assert not re.search(r"nowrap|width: \d{3,}px", STYLE)
    assert ".scroll { overflow-x: auto; }" in STYLE
    assert ElementTree.fromstring(table([LONG_WORD], [[LONG_WORD]])).get("class") == "scroll"
    assert LONG_WORD in facts_table([(LONG_WORD, LONG_WORD)])


def test_a_very_long_text_scrolls_within_its_cell() -> None:
    cells = list(ElementTree.fromstring(table(["a", "b"], [["word " * 400, "short"]])).iter("td"))
    assert [cell.find("div[@class='long']") is not None for cell in cells] == [True, False]
    assert re.search(r"td \.long \{[^}]*max-height: \d+rem; overflow-y: auto", STYLE)


def row(step: int, source: str, output: str, best: bool) -> dict[str, object]:
    samples = [{"source": source, "reference": "r", "output": output}]
    return {"kind": "valid", "step": step, "loss": 1.0, "scores": {"BLEU": 1.0}, "best": best, "samples": samples}


def test_a_column_without_content_is_left_out() -> None:
    page = training_page("", {}, [row(1, "a", "x", True), row(2, "other", "y", False)], [])
    assert "Last, step" not in page
    assert "Last, step 2" in training_page("", {}, [row(1, "a", "x", True), row(2, "a", "y", False)], [])


def test_a_graph_is_shown_as_its_edges() -> None:
    graph = '{"nodes": ["Alan Bean", "Apollo 12", "NASA"], "edges": [[0, 1, "mission"]]}'
    assert readable(graph) == "Alan Bean —mission→ Apollo 12; NASA"
    page = training_page("", {}, [row(1, graph, "x", True)], [])
    assert "Alan Bean —mission→ Apollo 12" in page
    assert "&quot;nodes&quot;" not in page


@pytest.mark.parametrize("text", ["plain", "{broken", '{"a": 1}', '{"nodes": [], "edges": [[0, 1, "x"]]}', "{" * 9999])
def test_other_sources_are_shown_as_they_are(text: str) -> None:
    assert readable(text) == text
