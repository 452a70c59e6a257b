"""The page of a training run: model and data, curves of loss and scores, and sample outputs.

It is made from the lines of metrics.jsonl only, so the page of any run can be made again later.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from calque.report.chart import Point, Series, line_chart, number
from calque.report.page import document, escape, facts_table, section, table
from calque.tasks.task import Labels

Row = Mapping[str, Any]

# Characters of a source in the heading of its history; the table of samples shows all of it.
MOST_OF_SOURCE = 160


def training_page(
    title: str,
    facts: Mapping[str, str],
    rows: Sequence[Row],
    samples: Sequence[Row],
    labels: Labels = Labels(),  # noqa: B008 — frozen
) -> str:
    """Return `report.html`.

    `rows` are the lines of metrics.jsonl in order: kind "train" (step, loss, lr, grad_norm, tokens) and kind "valid"
    (step, loss, scores, best, samples). `samples` (source, reference, output) are answers of the best checkpoint;
    when empty, those of the best validation in `rows` are shown. Missing values and NaN are left out.
    `labels` name the sides of a sample.
    """
    train = [row for row in rows if row.get("kind") == "train"]
    valid = [row for row in rows if row.get("kind") == "valid"]
    best = best_row(valid)
    body = section("Curves", f"{_charts(train, valid, best)}{_left_out([*train, *valid])}")
    if facts:
        body = section("Facts", facts_table(facts.items())) + body
    body += _samples_section(valid, best, samples, labels)
    return document(title, _lead(train, valid, best), body)


def best_row(valid: Sequence[Row]) -> Row | None:
    """Return the last validation that was the best so far, or None."""
    return next((row for row in reversed(valid) if row.get("best")), None)


def _lead(train: Sequence[Row], valid: Sequence[Row], best: Row | None) -> str:
    if best is not None:
        scores = [f"{name} {_value(score):.2f}" for name, score in _scores(best).items()]
        return f"Best at step {number(_value(best.get('step')))}: {', '.join([*scores, _loss_text(best)])}."
    if valid:
        return "There are validations, but none is marked as the best."
    return "Not validated yet." if train else "No update yet."


def _charts(train: Sequence[Row], valid: Sequence[Row], best: Row | None) -> str:
    best_step = None if best is None else _value(best.get("step"))
    losses = [
        Series("training", _points(train, "loss"), "first"),
        Series("validation", _points(valid, "loss"), "second", best_step),
    ]
    charts = [line_chart("Loss per target token", losses)]
    for name in dict.fromkeys(name for row in valid for name in _scores(row)):
        points = [(_value(row.get("step")), _value(_scores(row).get(name))) for row in valid]
        charts.append(line_chart(name, [Series(name, points, "second", best_step)]))
    if train:
        charts.append(line_chart("Learning rate", [Series("learning rate", _points(train, "lr"), "first")]))
        charts.append(line_chart("Gradient norm", [Series("gradient norm", _points(train, "grad_norm"), "first")]))
    return f'<div class="grid">{"".join(charts)}</div>'


def _left_out(rows: Sequence[Row]) -> str:
    # A gap in a curve is easily overlooked, so NaN is reported in words too.
    count = sum(not math.isfinite(_value(row.get("loss"))) for row in rows)
    return f"<p>Rows without a finite loss, left out of the curves: {count}.</p>" if count else ""


def _samples_section(valid: Sequence[Row], best: Row | None, samples: Sequence[Row], labels: Labels) -> str:
    shown = samples or (_samples(best) if best is not None else [])
    last = valid[-1] if valid else None
    if not shown and last is not None:
        shown = _samples(last)
    if not shown:
        return ""
    headings = [
        labels.source,
        labels.reference,
        labels.output if best is None else f"Best, step {number(_value(best.get('step')))}",
    ]
    is_later = best is not None and last is not None and last is not best and any(_output(last, one) for one in shown)
    if last is not None and is_later:
        headings.append(f"Last, step {number(_value(last.get('step')))}")
    lines = []
    for sample in shown:
        line = [readable(sample.get("source", "")), sample.get("reference", ""), sample.get("output", "")]
        if last is not None and is_later:
            line.append(_output(last, sample))
        lines.append(line)
    histories = "".join(_history(sample, valid, labels.output) for sample in shown)
    return section("Samples", table(headings, lines)) + (section("How they changed", histories) if histories else "")


def _history(sample: Row, valid: Sequence[Row], label: str) -> str:
    """Return the answers of one sample at the validations at which they changed."""
    lines: list[tuple[str, str]] = []
    for row in valid:
        output = _output(row, sample)
        if output and (not lines or output != lines[-1][1]):
            lines.append((number(_value(row.get("step"))), output))
    if len(lines) < 2:
        return ""
    heading = f'<summary dir="auto">{escape(_shortened(readable(sample.get("source", ""))))}</summary>'
    return f"<details>{heading}{table(['Step', label], lines)}</details>\n"


def readable(source: object) -> str:
    """Return a source as a sentence: a graph in JSON as its edges, any other text unchanged."""
    text = str(source)
    if not text.startswith("{"):
        return text
    try:
        graph = json.loads(text)
        nodes = graph["nodes"]
        edges = [f"{nodes[start]} —{label}→ {nodes[end]}" for start, end, label in graph["edges"]]
        linked = {place for start, end, _ in graph["edges"] for place in (start, end)}
        alone = [str(node) for place, node in enumerate(nodes) if place not in linked]
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        return text
    return "; ".join([*edges, *alone])


def _shortened(text: object) -> str:
    whole = str(text)
    return whole if len(whole) <= MOST_OF_SOURCE else whole[: MOST_OF_SOURCE - 1] + "…"


def _output(row: Row, sample: Row) -> str:
    same = (other for other in _samples(row) if other.get("source") == sample.get("source"))
    return str(next(same, {}).get("output", ""))


def _points(rows: Sequence[Row], key: str) -> list[Point]:
    return [(_value(row.get("step")), _value(row.get(key))) for row in rows]


def _scores(row: Row) -> Mapping[str, Any]:
    return row.get("scores") or {}


def _samples(row: Row) -> Sequence[Row]:
    return row.get("samples") or []


def _loss_text(row: Row) -> str:
    return f"loss {_value(row.get('loss')):.3f}"


def _value(value: object) -> float:
    # JSON has no NaN: the file may contain null or a word in its place.
    return float(value) if isinstance(value, int | float) else math.nan
