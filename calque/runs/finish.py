"""After the last update: the final scores, the report, the model card and the manifest of a run folder."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from calque import __version__
from calque.data.files.readers import Example, lines_named
from calque.folder.journal import read_journal
from calque.folder.record import read_record
from calque.metrics.bootstrap import bootstrap
from calque.metrics.score import Metric, Score
from calque.predict.predictor import Predictor
from calque.recipe.layers import flatten
from calque.recipe.tree import Recipe
from calque.report.card import CardData, CardFacts, CardScore, model_card
from calque.report.progress import duration
from calque.report.training import training_page
from calque.system.files import sha256_of, write_atomic

NUM_SAMPLES = 12
SHOWN_SETTINGS = (
    "model.encoder.kind", "model.encoder.layers", "model.encoder.width", "model.decoder.layers", "model.decoder.width",
    "train.batch_tokens", "train.lr", "train.max_epochs", "train.label_smoothing", "search.beam",
)  # fmt: skip


def score_examples(
    predictor: Predictor, examples: Sequence[Example], metrics: Sequence[Metric], batch_size: int = 0
) -> tuple[list[Score], list[str]]:
    """Answer the sources, score the answers with 95 % intervals, and return scores and answers."""
    with lines_named(examples):
        outputs = predictor.best([example.source for example in examples], batch_size)
    references = [example.targets for example in examples]
    return [bootstrap(metric, outputs, references) for metric in metrics], outputs


def samples(examples: Sequence[Example], outputs: Sequence[str]) -> list[dict[str, str]]:
    """Choose examples to show, spread over the set."""
    step = max(1, len(examples) // NUM_SAMPLES)
    chosen = list(zip(examples, outputs, strict=True))[::step][:NUM_SAMPLES]
    return [{"source": example.source, "reference": example.targets[0], "output": output} for example, output in chosen]


def complete(
    folder: Path,
    recipe: Recipe,
    predictor: Predictor,
    scores: Mapping[str, Sequence[Score]],
    shown: Sequence[Mapping[str, str]],
    seconds: float,
) -> None:
    """Write report.html, README.md and manifest.json; `scores` are by the name of their data set."""
    record = read_record(folder) or {}
    facts = _card(folder, recipe, predictor, record, scores, seconds)
    lines = {f"{score.name} on {data}": _score_text(score) for data, found in scores.items() for score in found}
    about = {
        "Data": f"{record['pairs']['training']:,} pairs to train on, {record['pairs']['validation']:,} to validate on",
        "Model": f"{facts.architecture}, {facts.parameters:,} parameters",
        "Vocabulary": facts.vocabulary,
        "Machine": facts.machine,
        "Training time": facts.time,
        **lines,
    }
    page = training_page(folder.name, about, list(read_journal(folder / "metrics.jsonl")), shown, recipe.task.labels)
    write_atomic(folder / "report.html", page)
    write_atomic(folder / "README.md", model_card(facts))
    names = ["model.safetensors", "recipe.json", *sorted(f"text/{path.name}" for path in (folder / "text").iterdir())]
    files = {name: {"bytes": (folder / name).stat().st_size, "sha256": sha256_of(folder / name)} for name in names}
    write_atomic(folder / "manifest.json", json.dumps({"format": 1, "files": files}, indent=2) + "\n")


def _card(
    folder: Path,
    recipe: Recipe,
    predictor: Predictor,
    record: dict[str, Any],
    scores: Mapping[str, Sequence[Score]],
    seconds: float,
) -> CardFacts:
    settings = flatten(recipe.model_dump(mode="json"))
    machine = record["machine"]
    encoder, decoder = recipe.model.encoder, recipe.model.decoder
    text = predictor.text
    sizes = f"{text.source.vocab_size:,}" + (" joint" if text.joint else f" and {text.target.vocab_size:,}")
    return CardFacts(
        name=folder.name,
        task=recipe.task.kind,
        architecture=f"{encoder.kind} encoder ({encoder.layers} × {encoder.width}),"
        f" {decoder.kind} decoder ({decoder.layers} × {decoder.width})",
        parameters=sum(parameter.numel() for parameter in predictor.model.parameters()),
        size_bytes=(folder / "model.safetensors").stat().st_size,
        folder=str(folder),
        source_language=recipe.task.source_language,
        target_language=recipe.task.target_language,
        vocabulary=f"{sizes} tokens, {recipe.text.source.kind}",
        data=tuple(
            CardData(role, part["name"], record["pairs"].get(role, 0), part["sha256"])
            for role, part in record["data"].items()
        ),
        scores=tuple(
            CardScore(
                score.name,
                score.value,
                data,
                None if score.low is None or score.high is None else (score.low, score.high),
                score.signature,
            )
            for data, found in scores.items()
            for score in found
        ),
        recipe={key: str(settings[key]) for key in SHOWN_SETTINGS if key in settings},
        machine=f"{machine['gpu'] or 'CPU'}, threads: {record['threads']}, {recipe.train.precision}",
        time=duration(seconds),
        version=__version__,
        max_length=recipe.data.max_length,
        example=text.inputs.example(CardFacts.example),
    )


def _score_text(score: Score) -> str:
    interval = "" if score.low is None else f" (95 %: {score.low:.2f} to {score.high:.2f})"
    return f"{score.value:.2f}{interval} {score.signature}"
