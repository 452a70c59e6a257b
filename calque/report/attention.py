"""A picture of attention: the weight of each source token at each target token (Bahdanau et al. 2015, figure 3).

On the page the browser draws the letters, so that every script is shown; the PNG needs an installed font.
"""

import io
import math
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calque.report.page import document, escape, printable
from calque.system.files import write_atomic

CELL = 34
FONT_SIZE = 14
GAP = 8
LEGEND_HEIGHT = 46
# Columns whose label is wider than the cell are turned by this angle.
ANGLE = 50


def attention_page(
    source_pieces: Sequence[str], target_pieces: Sequence[str], weights: ArrayLike, title: str, caption: str
) -> str:
    """Return a page with a heat map: one row per target piece, one column per source piece.

    weights: [T, S], 0 to 1; a value that is not finite is drawn as an empty, dashed cell.
    """
    matrix = _matrix(source_pieces, target_pieces, weights)
    if matrix.size == 0:
        return document(title, caption, "<p>There is no attention to show: one side is empty.</p>")
    picture = _svg([printable(piece) for piece in source_pieces], [printable(piece) for piece in target_pieces], matrix)
    return document(title, caption, f'<div class="scroll">{picture}</div>')


def attention_png(
    path: Path, source_pieces: Sequence[str], target_pieces: Sequence[str], weights: ArrayLike, title: str
) -> str:
    """Write the heat map to `path` and return ''; or write nothing and return the reason in a sentence.

    A font without a letter would draw an empty box, so the PNG is written only if an installed font has all letters.
    """
    matrix = _matrix(source_pieces, target_pieces, weights)
    if matrix.size == 0:
        return "No PNG was written: one side is empty."
    characters = set(printable("".join([title, *source_pieces, *target_pieces])))
    font = _font_with(characters)
    if font is None:
        lacking = _worst_script(characters)
        return f"No PNG was written: no installed font has all the characters ({lacking}); the HTML page shows them."
    write_atomic(path, _png(source_pieces, target_pieces, matrix, title, font))
    return ""


def _matrix(source_pieces: Sequence[str], target_pieces: Sequence[str], weights: ArrayLike) -> NDArray[np.float64]:
    matrix = np.asarray(weights, dtype=np.float64)
    expected = (len(target_pieces), len(source_pieces))
    assert matrix.shape == expected or 0 in expected, f"weights {matrix.shape} for {expected} target and source pieces"
    return matrix if 0 not in expected else np.zeros((0, 0))


def _svg(source: Sequence[str], target: Sequence[str], matrix: NDArray[np.float64]) -> str:
    is_turned = any(text_width(piece) > CELL for piece in source)
    longest = max(text_width(piece) for piece in source)
    slope = math.radians(ANGLE)
    head = (longest * math.sin(slope) + FONT_SIZE if is_turned else FONT_SIZE) + GAP
    left = max(text_width(piece) for piece in target) + 2 * GAP
    overhang = longest * math.cos(slope) if is_turned else 0
    right, bottom = left + CELL * len(source), head + CELL * len(target)
    width, height = max(right + overhang, left + 190) + GAP, bottom + LEGEND_HEIGHT
    parts = [
        f'<rect class="ground" x="{left:.0f}" y="{head:.0f}" width="{right - left:.0f}" height="{bottom - head:.0f}"/>'
    ]
    parts.extend(
        _column_label(piece, left + CELL * (index + 0.5), head - GAP, is_turned) for index, piece in enumerate(source)
    )
    for row, piece in enumerate(target):
        y = head + CELL * row
        parts.append(f'<text x="{left - GAP:.0f}" y="{y + CELL / 2 + 5:.0f}" text-anchor="end">{escape(piece)}</text>')
        for column, weight in enumerate(matrix[row]):
            parts.append(_cell(left + CELL * column, y, float(weight), f"{source[column]} → {piece}"))
    parts.append(_legend(left, bottom + 14))
    size = f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}"'
    label = f"Attention of {len(target)} target pieces over {len(source)} source pieces"
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-size="{FONT_SIZE}" role="img" aria-label="{label}">\n'
        f"{body}\n</svg>"
    )


def _column_label(piece: str, x: float, y: float, is_turned: bool) -> str:
    if is_turned:
        return f'<text transform="translate({x + 4:.0f} {y:.0f}) rotate(-{ANGLE})">{escape(piece)}</text>'
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="middle">{escape(piece)}</text>'


def _cell(x: float, y: float, weight: float, pair: str) -> str:
    place = f'x="{x + 1:.0f}" y="{y + 1:.0f}" width="{CELL - 2}" height="{CELL - 2}"'
    if not math.isfinite(weight):
        return f'<rect class="cell missing" {place}><title>{escape(pair)}: not a number</title></rect>'
    opacity = min(max(weight, 0.0), 1.0)
    return f'<rect class="cell" {place} fill-opacity="{opacity:.3f}"><title>{escape(pair)}: {weight:.3f}</title></rect>'


def _legend(x: float, y: float) -> str:
    steps = [
        f'<rect class="legend" x="{x + 16 + 12 * step:.0f}" y="{y:.0f}" width="12" height="12" '
        f'fill="var(--heat)" fill-opacity="{step / 10:.1f}"/>'
        for step in range(11)
    ]
    frame = f'<rect x="{x + 16:.0f}" y="{y:.0f}" width="132" height="12" fill="none" stroke="var(--line)"/>'
    ends = [
        f'<text class="tick" x="{x + offset:.0f}" y="{y + 11:.0f}">{end}</text>' for offset, end in ((0, 0), (156, 1))
    ]
    return "".join([*steps, frame, *ends])


def text_width(text: str) -> float:
    """Return about how many pixels `text` takes: East Asian characters a full em, others a little over half."""
    ems = sum(1.0 if unicodedata.east_asian_width(character) in "WF" else 0.58 for character in text)
    return ems * FONT_SIZE


def _installed_fonts() -> Iterator[str]:
    """Yield font files: matplotlib's own first, then those of the system, regular weights before bold ones."""
    from matplotlib import font_manager

    own = str(font_manager.findfont(font_manager.FontProperties(family="DejaVu Sans")))
    yield own
    # The system is asked each time: matplotlib's cached list does not contain fonts that were installed later.
    yield from sorted(set(font_manager.findSystemFonts()) - {own}, key=lambda path: ("Regular" not in path, path))


def _font_with(characters: set[str]) -> str | None:
    """Return the first installed font file with a glyph for every character, or None."""
    return next((path for path in _installed_fonts() if _has_all(path, characters)), None)


def _has_all(path: str, characters: set[str]) -> bool:
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(path)
    except (RuntimeError, OSError):  # not a font that FreeType reads
        return False
    # Bitmap emoji cannot be scaled, and a "last resort" font has a box for every character.
    if not font.scalable or "last" in font.family_name.lower().split():
        return False
    return all(font.get_char_index(ord(character)) for character in characters)


def _worst_script(characters: set[str]) -> str:
    """Return an example that tells the reader which font to install, such as 'CJK UNIFIED IDEOGRAPH-72D7'."""
    farthest = max(characters, default=" ")
    return f"such as {farthest}, {unicodedata.name(farthest, f'U+{ord(farthest):04X}')}"


def _png(
    source_pieces: Sequence[str], target_pieces: Sequence[str], matrix: NDArray[np.float64], title: str, font: str
) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties

    rows, columns = matrix.shape
    properties = FontProperties(fname=font)
    # Without pyplot: its figures are global and its backend may need a screen.
    figure = Figure(figsize=(2.0 + 0.42 * columns, 1.6 + 0.42 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes: Any = figure.add_subplot()
    image = axes.imshow(np.clip(matrix, 0, 1), cmap="Blues", vmin=0, vmax=1, aspect="auto")
    is_turned = any(text_width(piece) > CELL for piece in source_pieces)
    turn: dict[str, Any] = {"rotation": ANGLE, "ha": "left", "rotation_mode": "anchor"} if is_turned else {}
    # parse_math=False: a dollar sign in the text is not mathematics.
    axes.set_xticks(range(columns), [printable(piece) for piece in source_pieces], parse_math=False, **turn)
    axes.set_yticks(range(rows), [printable(piece) for piece in target_pieces], parse_math=False)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.set_title(printable(title), parse_math=False, fontproperties=properties, fontsize=12)
    for label in [*axes.get_xticklabels(), *axes.get_yticklabels()]:
        label.set_fontproperties(properties)
        label.set_fontsize(11)
    figure.colorbar(image, ax=axes, shrink=0.8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()
