"""Line charts as inline SVG: a picture of a run without a plotting library, readable in light and dark.

It is not drawn by matplotlib because it uses the colours of the page, and the import would take a second.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from calque.report.page import escape

# Pictures shrink to 320 pixels on a phone; their letters then still have 10 pixels.
WIDTH = 400
HEIGHT = 240
RIGHT, TOP, BOTTOM = 14, 12, 30
# The width of a digit at 13 pixels, and the space between labels.
DIGIT, SPACE = 8.0, 8.0
MAX_POINTS = 400
MAX_DOTS = 80
# A larger loss has diverged; on a linear axis up to it nothing else would be visible.
LARGEST = 1e30

Point = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """One curve: `points` (step, y) with non-finite y as gaps, `style` "first" or "second", the step to `ring`."""

    name: str
    points: Sequence[Point]
    style: str
    ring: float | None = None


@dataclass(frozen=True)
class _Frame:
    """Map data to the picture, which leaves `left` to the labels of the y axis."""

    left: float
    low_x: float
    high_x: float
    low_y: float
    high_y: float

    def place(self, point: Point) -> Point:
        across = (point[0] - self.low_x) / (self.high_x - self.low_x)
        up = (point[1] - self.low_y) / (self.high_y - self.low_y)
        return self.left + across * (WIDTH - self.left - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)


def line_chart(title: str, series: Sequence[Series]) -> str:
    """Return a figure with its legend; a sentence instead of a picture when no point is finite."""
    thinned = [Series(part.name, thin(part.points), part.style, part.ring) for part in series]
    points = [point for part in thinned for point in part.points if _drawable(point)]
    if not points:
        return f"<figure><figcaption><b>{escape(title)}</b></figcaption><p>Nothing measured yet.</p></figure>"
    ticks_x, ticks_y = nice_ticks([0.0, *(x for x, _ in points)]), nice_ticks([y for _, y in points])
    # The x axis starts at 0 and ends with the run, not at the next round number.
    last_step = max(x for part in series for x, _ in part.points if math.isfinite(x))
    left = 2 * SPACE + max(len(number(tick)) for tick in ticks_y) * DIGIT
    frame = _Frame(left, 0.0, max(last_step, 1.0), ticks_y[0], ticks_y[-1])
    shown = [part for part in thinned if any(_drawable(point) for point in part.points)]
    legend = "".join(
        f'<span class="name"><span class="key {part.style}"></span>{escape(part.name)}</span>' for part in shown
    )
    lines = "\n".join([_axes(frame, ticks_x, ticks_y), *(_curve(part, frame) for part in shown)])
    return (
        f"<figure><figcaption><b>{escape(title)}</b>{legend if len(shown) > 1 else ''}</figcaption>\n"
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(title)}">\n{lines}\n</svg></figure>'
    )


def thin(points: Sequence[Point], most: int = MAX_POINTS) -> list[Point]:
    """Return at most `most` points, each the mean of as many neighbours; a group without a finite y is a gap."""
    if len(points) <= most:
        return list(points)
    size = math.ceil(len(points) / most)
    return [_mean(points[start : start + size]) for start in range(0, len(points), size)]


def nice_ticks(values: Sequence[float], count: int = 5) -> list[float]:
    """Return round numbers, evenly spaced, that enclose the finite `values` (at least one)."""
    low, high = min(values), max(values)
    if low == high:
        low, high = low - abs(low) * 0.1 - 1e-9, high + abs(high) * 0.1 + 1e-9
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [index * step for index in range(first, last + 1)]


def number(value: float) -> str:
    """Return a value for an axis or a tooltip: with separated thousands and without rounding noise."""
    if not math.isfinite(value):
        return "not a number"
    return f"{value:,.0f}" if abs(value) >= 1000 and abs(value) < 1e9 else f"{value:.4g}"


def _axes(frame: _Frame, ticks_x: Sequence[float], ticks_y: Sequence[float]) -> str:
    parts = []
    for tick in ticks_y:
        _, y = frame.place((frame.low_x, tick))
        parts.append(f'<line class="rule" x1="{frame.left:.1f}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        label = f'<text class="tick" x="{frame.left - SPACE:.1f}" y="{y + 4:.1f}" text-anchor="end">'
        parts.append(f"{label}{number(tick)}</text>")
    end = f"step {number(frame.high_x)}"
    free, room = 0.0, WIDTH - RIGHT - len(end) * DIGIT - SPACE
    for tick in ticks_x:
        x, _ = frame.place((tick, frame.low_y))
        half = len(number(tick)) * DIGIT / 2
        # A label that would touch the one before it, or that of the axis, is left out.
        if frame.low_x <= tick <= frame.high_x and x - half >= free and x + half <= room:
            parts.append(f'<text class="tick" x="{x:.1f}" y="{HEIGHT - 10}" text-anchor="middle">{number(tick)}</text>')
            free = x + half + SPACE
    parts.append(f'<text class="tick" x="{WIDTH - RIGHT}" y="{HEIGHT - 10}" text-anchor="end">{escape(end)}</text>')
    return "\n".join(parts)


def _curve(part: Series, frame: _Frame) -> str:
    commands, drawing = [], False
    for point in part.points:
        if _drawable(point):
            x, y = frame.place(point)
            # A single point is a line of length 0, drawn as a dot by its round cap.
            commands.append(f"L{x:.1f} {y:.1f}" if drawing else f"M{x:.1f} {y:.1f}h0")
        drawing = _drawable(point)
    marks = [f'<path class="{part.style}" d="{" ".join(commands)}"/>']
    dotted = [point for point in part.points if _drawable(point)]
    if part.style == "second" and len(dotted) <= MAX_DOTS:
        marks.extend(_dot(part, point, frame) for point in dotted)
    for point in dotted:
        if point[0] == part.ring:
            x, y = frame.place(point)
            marks.append(f'<circle class="ring" cx="{x:.1f}" cy="{y:.1f}" r="7"><title>best</title></circle>')
    return "\n".join(marks)


def _dot(part: Series, point: Point, frame: _Frame) -> str:
    x, y = frame.place(point)
    tip = f"{part.name} {number(point[1])} at step {number(point[0])}"
    return f'<circle class="{part.style}" cx="{x:.1f}" cy="{y:.1f}" r="4"><title>{escape(tip)}</title></circle>'


def _mean(points: Sequence[Point]) -> Point:
    finite = [point for point in points if _drawable(point)]
    if not finite:
        return points[0][0], math.nan
    return sum(x for x, _ in finite) / len(finite), sum(y for _, y in finite) / len(finite)


def _drawable(point: Point) -> bool:
    return all(math.isfinite(value) and abs(value) < LARGEST for value in point)
