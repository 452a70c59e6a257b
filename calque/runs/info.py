"""The facts of a model folder as plain values: the work of `calque info`."""

from pathlib import Path
from typing import Any

from calque.folder.recipe_file import read_sections
from calque.folder.record import read_record
from calque.predict.ensemble import load


def info(folder: str | Path) -> dict[str, Any]:
    """Return the facts of a model folder as plain values."""
    folder = Path(folder)
    predictor = load(folder, device="cpu")
    sections = read_sections(folder)
    record = read_record(folder) or {}
    facts: dict[str, Any] = {
        "folder": str(folder),
        "task": predictor.task.kind,
        "languages": f"{predictor.task.source_language or '?'} → {predictor.task.target_language or '?'}",
        "encoder": sections["model"]["encoder"]["kind"],
        "decoder": sections["model"]["decoder"]["kind"],
        "reads": ", ".join(predictor.text.inputs.names),
        "parameters": sum(parameter.numel() for parameter in predictor.model.parameters()),
        "source tokens": predictor.text.source.vocab_size,
        "target tokens": predictor.text.target.vocab_size,
        "longest text": predictor.max_length,
        "status": record.get("status", "imported"),
    }
    for data, scores in record.get("scores", {}).items():
        facts |= {f"{score['name']} on {data}": round(score["value"], 2) for score in scores}
    return facts
