"""Promises of the attention picture: a cell for each weight, safe labels, and a PNG only with a font for it."""

import math
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from calque.report import attention
from calque.report.attention import attention_page, attention_png

SVG = "{http://www.w3.org/2000/svg}"
ATTACK = "<script>alert(1)</script>"
SOURCE, TARGET = ["▁a", "▁dog", "▁enthusiastically", "."], ["一只", "狗", "。"]


def weights(rows: int, columns: int) -> np.ndarray:
    values = np.random.default_rng(3).random((rows, columns))
    return values / values.sum(1, keepdims=True)


def cells(page: str) -> list[ElementTree.Element]:
    return [rect for rect in ElementTree.fromstring(page).iter(f"{SVG}rect") if "cell" in rect.get("class", "")]


def labels(page: str) -> list[ElementTree.Element]:
    return [text for text in ElementTree.fromstring(page).iter(f"{SVG}text") if text.get("class") != "tick"]


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (3, 4), (7, 2)])
def test_there_is_one_cell_for_each_weight_and_one_label_for_each_piece(rows: int, columns: int) -> None:
    source, target = [f"s{index}" for index in range(columns)], [f"t{index}" for index in range(rows)]
    page = attention_page(source, target, weights(rows, columns), "title", "caption")
    assert len(cells(page)) == rows * columns
    assert sorted(label.text or "" for label in labels(page)) == sorted([*source, *target])


def test_a_cell_stands_under_its_source_beside_its_target_and_is_as_dark_as_its_weight() -> None:
    matrix = weights(3, 4)
    for index, cell in enumerate(cells(attention_page(SOURCE, TARGET, matrix, "", ""))):
        row, column = divmod(index, 4)
        tip = cell.find(f"{SVG}title").text  # type: ignore[union-attr]
        assert tip == f"{SOURCE[column]} → {TARGET[row]}: {matrix[row, column]:.3f}"
        assert float(cell.get("fill-opacity", "")) == pytest.approx(matrix[row, column], abs=1e-3)
    places = [
        (float(cell.get("y", "")), float(cell.get("x", "")))
        for cell in cells(attention_page(SOURCE, TARGET, matrix, "", ""))
    ]
    assert places == sorted(places)
    assert len(set(places)) == 12


def test_everything_lies_within_the_picture() -> None:
    page = attention_page(SOURCE, TARGET, weights(3, 4), "", "")
    svg = next(ElementTree.fromstring(page).iter(f"{SVG}svg"))
    width, height = float(svg.get("width", "")), float(svg.get("height", ""))
    for rect in svg.iter(f"{SVG}rect"):
        x, y, wide, high = (float(rect.get(key, "")) for key in ("x", "y", "width", "height"))
        assert x >= 0
        assert y >= 0
        assert x + wide <= width
        assert y + high <= height


def test_long_column_labels_are_turned_and_short_ones_are_not() -> None:
    turned = [
        label for label in labels(attention_page(SOURCE, TARGET, weights(3, 4), "", "")) if label.get("transform")
    ]
    assert [label.text for label in turned] == SOURCE
    upright = attention_page(TARGET, SOURCE, weights(4, 3), "", "")
    assert not [label for label in labels(upright) if label.get("transform")]


def test_no_text_becomes_markup() -> None:
    page = attention_page([ATTACK, "\x1b"], [ATTACK], [[0.5, 0.5]], ATTACK, ATTACK)
    assert "<script" not in page
    assert (
        page.count("&lt;script&gt;") == 2 + 1 + 2 + 2 + 1
    )  # title and h1, caption, labels, both in one tip, one in one


def test_weights_that_are_no_numbers_and_empty_sides_are_drawn() -> None:
    page = attention_page(["a", "b", "c"], ["d"], [[math.nan, math.inf, 7.0]], "", "")
    shown = cells(page)
    assert ["missing" in cell.get("class", "") for cell in shown] == [True, True, False]
    assert shown[2].get("fill-opacity") == "1.000"
    for source, target, matrix in ([], [], []), (["a"], [], np.zeros((0, 1))), ([], ["a"], np.zeros((1, 0))):
        assert not cells(attention_page(source, target, matrix, "t", "c"))


def test_a_matrix_of_another_shape_is_refused() -> None:
    with pytest.raises(AssertionError, match="target"):
        attention_page(SOURCE, TARGET, weights(4, 3), "", "")


def own_font() -> str:
    return next(iter(attention._installed_fonts()))


def test_png_is_written_when_a_font_has_every_character(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    fonts = [str(tmp_path / "absent.ttf"), str(tmp_path / "broken.ttf"), own_font()]
    monkeypatch.setattr(attention, "_installed_fonts", lambda: iter(fonts))
    path = tmp_path / "picture.png"
    assert (
        attention_png(path, ["$_{$", "dog\n"], ["café", "γάτα"], [[0.1, math.nan], [0.5, 0.5]], r"costs $\frac{$") == ""
    )
    assert path.read_bytes().startswith(b"\x89PNG\r\n")


def test_png_has_target_rows_and_source_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.image import imread

    font = own_font()
    monkeypatch.setattr(attention, "_installed_fonts", lambda: iter([font]))
    matrix = np.zeros((3, 3))
    matrix[2] = 1.0
    assert attention_png(tmp_path / "picture.png", list("abc"), list("def"), matrix, "") == ""
    pixels = imread(tmp_path / "picture.png")
    # The colour bar stands to the right.
    pixels = pixels[:, : int(pixels.shape[1] * 0.7)]
    dark_blue = (pixels[..., 0] < 0.1) & (pixels[..., 2] > 0.35)
    down, across = np.nonzero(dark_blue)
    assert np.ptp(across) > 2 * np.ptp(down)
    assert down.mean() > pixels.shape[0] / 2


def test_no_png_without_a_font_and_the_reason_names_a_character(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "picture.png"
    for fonts in [], [own_font()]:
        monkeypatch.setattr(attention, "_installed_fonts", lambda fonts=fonts: iter(fonts))
        reason = attention_png(path, ["a"], ["狗"], [[1.0]], "title")
        assert "狗" in reason
        assert "CJK" in reason
        assert "\n" not in reason
    assert attention_png(path, [], ["a"], np.zeros((1, 0)), "title")
    assert not list(tmp_path.iterdir())


def test_drawing_a_png_leaves_no_figure_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    font = own_font()
    monkeypatch.setattr(attention, "_installed_fonts", lambda: iter([font]))
    had_pyplot = "matplotlib.pyplot" in sys.modules
    attention_png(tmp_path / "picture.png", ["a"], ["b"], [[1.0]], "")
    assert ("matplotlib.pyplot" in sys.modules) == had_pyplot
