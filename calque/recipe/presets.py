"""Defaults that depend on the data and the machine, each with the reason that is printed."""

from dataclasses import dataclass, field
from typing import Any

from calque.catalog import architecture
from calque.data.files.columns import Columns
from calque.data.survey import SideFacts, Survey
from calque.model import ModelConfig
from calque.recipe.graphs import SENTENCE_ENCODER, form_of_sources, layout_kind
from calque.recipe.layers import Layer, flatten, merge, spread_text, validate_section, with_kinds
from calque.recipe.tree import Recipe
from calque.system.forks import can_fork
from calque.system.machine import Machine, place
from calque.tasks.kinds import recorded
from calque.tasks.table import DEFAULT_TASK, TASKS
from calque.tasks.task import Task
from calque.text.pair import TextConfig
from calque.text.scripts import is_unspaced
from calque.training.config import TrainConfig

# (maximum number of pairs, value): the first one that fits is used.
VOCAB_SIZES = ((1_000, 500), (5_000, 2_000), (20_000, 4_000), (50_000, 5_000), (200_000, 8_000), (1_000_000, 16_000))
# A narrow Transformer learns little with high dropout; all other models overfit small sets without it.
DROPOUTS = ((100_000, 0.3), (500_000, 0.2))
NARROW, NARROW_DROPOUT = 128, 0.2
TRANSFORMERS = ("transformer", "gat", "graph_transformer")
MEMORY_DROPOUT = 0.1
# A memory network needs many updates.
MEMORY_BATCHES = ((10_000, 512), (50_000, 1_024), (500_000, 4_096))
BATCHES = ((10_000, 1_024), (50_000, 2_048), (500_000, 4_096))
# Tokens of both sides in an update, per target token: twice those of a translation, fewer than those of a summary.
TOTAL_RATIO = 4.0
# Pairs in a whole run with repetitions: small sets are read often, large ones a few times.
PAIRS_SEEN = 1_200_000
MIN_EPOCHS, MAX_EPOCHS = 4, 100
# Share of the rate of a new model: high enough to learn new data, low enough not to forget.
GENTLER = 0.2
ENOUGH_FOR_TRANSFORMER = 10_000
ENOUGH_FOR_SMALL = 200_000
VALIDATIONS = 25
MOST_PROCESSES = 4
DEFAULT_COLUMNS = Columns()


@dataclass(frozen=True)
class Choice:
    """The names that the user chose; "auto" is decided by the data."""

    model: str = "auto"
    size: str = "auto"
    task: Task = TASKS[DEFAULT_TASK]
    languages: tuple[str, str] = ("", "")


@dataclass
class Preset:
    """A layer of settings with the reason of each; `settings` are those of the user, which override it."""

    settings: Layer
    layer: Layer = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)

    def say(self, what: str, why: str, *keys: str) -> None:
        """Record a decision about `keys` and its reason, unless the user set one of them."""
        if not any(self.is_set(key) for key in keys):
            self.reasons.append(f"{what}: {why}")

    def is_set(self, key: str) -> bool:
        """Return whether the user's settings contain `key`."""
        return key in flatten(self.settings)

    def left(self, section: str, parts: tuple[str, str], fields: tuple[str, ...]) -> str | None:
        """Return which of two parts the data decide `fields` for: " of the PART", "" for both, None for neither."""
        free = [part for part in parts if not any(self.is_set(f"{section}.{part}.{field}") for field in fields)]
        return None if not free else "" if len(free) == 2 else f" of the {free[0]}"

    def with_settings(self, section: str, values: Layer) -> Layer:
        """Return the values that a section will have in the run, for defaults that depend on them."""
        preset = merge(Recipe().model_dump(), {section: values})
        whole = merge(preset, {section: spread_text(self.settings).get(section, {})})
        return with_kinds(whole, Recipe)[section]  # type: ignore[no-any-return]


def check_names(choice: Choice) -> None:
    """Raise UsageError for an unknown model or size, before any data are read."""
    model = choice.model if choice.model != "auto" else "transformer"
    architecture(model, choice.size if choice.size != "auto" else "tiny")


def preset(
    choice: Choice, survey: Survey, machine: Machine, settings: Layer | None = None, columns: Columns = DEFAULT_COLUMNS
) -> Preset:
    """Return defaults for a data set on a machine, with reasons for those that `settings` do not override.

    `columns` are those in which the data were found.
    """
    check_names(choice)
    made = Preset(settings or {})
    made.layer["data"] = _data(made, choice, columns)
    made.layer["task"] = _task(made, choice, survey)
    made.layer["text"] = text = _text(made, choice, survey)
    joint = bool(made.with_settings("text", text).get("joint"))
    made.layer["model"] = model = _model(made, choice, survey, machine, joint)
    encoder = made.with_settings("model", model)["encoder"]["kind"]
    form, what = form_of_sources(survey.source.sample)
    layout = layout_kind(form, encoder)
    if layout != "line":
        text["layout"] = {"kind": layout}
        made.say(f"source layout {layout}", f"{what}, the encoder is {encoder}", "text.layout.kind")
    if made.with_settings("model", model).get("head", {}).get("kind") == "pointer":
        text["copying"] = True
        made.say(
            "the target tokens that each source token can be copied to are recorded",
            "the head is a pointer",
            "text.copying",
        )
    made.layer["train"] = merge(_train(made, survey, machine, model), dict(choice.task.train), TrainConfig)
    if choice.task.search:
        made.layer["search"] = dict(choice.task.search)
    return made


def _data(made: Preset, choice: Choice, columns: Columns) -> dict[str, Any]:
    data = dict(choice.task.data)
    if data:
        made.say(choice.task.data_reason, f"the task is {choice.task.name}", *(f"data.{name}" for name in data))
    if columns.are_named and not made.settings.get("data", {}).get("columns"):
        made.say(f"columns {', '.join(columns.inputs)} → {columns.target}", "their names in the file")
        data["columns"] = {"source": columns.source, "target": columns.target}
    return data


def _task(made: Preset, choice: Choice, survey: Survey) -> dict[str, Any]:
    source, target = choice.languages
    if choice.task.has_languages or source:
        made.say(
            f"languages {source or 'unknown'} → {target or 'unknown'}",
            "given, or guessed from the file's name"
            if source
            else "the file's name does not contain them; --languages en-zh sets them",
            "task.source_language",
            "task.target_language",
        )
    if choice.task.file:
        made.say(f"task {choice.task.name}", f"{choice.task.file}, SHA-256 {choice.task.sha256[:12]}")
    return {
        **recorded(choice.task),
        "source_language": source,
        "target_language": target,
        "target_script": survey.target.script,
    }


def _text(made: Preset, choice: Choice, survey: Survey) -> dict[str, Any]:
    own = dict(choice.task.text)
    if "source" in own and "target" in own:
        made.say(choice.task.reason, f"the task is {choice.task.name}", "text.source.kind", "text.target.kind")
        return own
    source, target = survey.source, survey.target
    joint = source.script == target.script
    size = _first(VOCAB_SIZES, survey.num_pairs, 32_000)
    alphabet = max(side.alphabet for side in (source, target))
    if is_unspaced(source.script) or is_unspaced(target.script):
        size = max(size, min(32_000, 2 * alphabet))
    made.say(
        "one vocabulary" if joint else "two vocabularies",
        f"both sides are {source.script}" if joint else f"{source.script} → {target.script}",
        "text.joint",
    )
    of = made.left("text", ("source", "target"), ("kind", "vocab_size"))
    if of is not None:
        made.say(f"up to {size:,} pieces{of}", f"{survey.num_pairs:,} pairs, alphabet of {alphabet:,} characters")
    # BPE is learned in a fifth of the time of a unigram model, and scores are equal.
    made.say(
        "source text in Unicode's composed form (NFC)",
        "equal words must have equal characters; the target is not changed",
        "text.normalise",
    )
    side = {"kind": "sentencepiece", "algorithm": "bpe", "vocab_size": size}
    return merge({"joint": joint, "source": side, "target": side}, own, TextConfig)


def _model(made: Preset, choice: Choice, survey: Survey, machine: Machine, joint: bool) -> dict[str, Any]:
    name, size = choice.model, choice.size
    form, what = form_of_sources(survey.source.sample)
    if name == "auto" and form != "line":
        name = "graph"
        made.say("model graph", what, "model.encoder.kind")
    chosen = choice.task.choose_model(survey) if name == "auto" and choice.task.choose_model else None
    if chosen:
        name, why = chosen
        made.say(f"model {name}", why, "model.encoder.kind", "model.decoder.kind")
    if name == "auto":
        name = "transformer" if survey.num_pairs >= ENOUGH_FOR_TRANSFORMER else "lstm"
        kinds = ("model.encoder.kind", "model.decoder.kind")
        why = f"{survey.num_pairs:,} pairs; a Transformer is better from {ENOUGH_FOR_TRANSFORMER:,} pairs on"
        made.say(f"model {name}", why, *kinds)
    if size == "auto":
        strong = survey.num_pairs >= ENOUGH_FOR_SMALL or bool(machine.gpu)
        size = "small" if strong and name != "basic-lstm" else "tiny"
        why = f"{survey.num_pairs:,} pairs on {machine.gpu or f'{machine.cores} CPU cores'}"
        made.say(f"size {size}", why, "train.start_from")
    model = architecture(name, size)
    dropout = _first(DROPOUTS, survey.num_pairs, 0.1)
    as_set = validate_section(ModelConfig, made.with_settings("model", model), "model")
    encoder, decoder = as_set.encoder, as_set.decoder
    if encoder.kind in TRANSFORMERS and encoder.width <= NARROW:
        dropout = min(dropout, NARROW_DROPOUT)
    if encoder.kind == SENTENCE_ENCODER:
        dropout = min(dropout, MEMORY_DROPOUT)
    of = made.left("model", ("encoder", "decoder"), ("dropout",))
    if of is not None:
        made.say(f"dropout {dropout}{of}", f"{survey.num_pairs:,} pairs, {encoder.kind} {encoder.width} wide")
    for part in ("encoder", "decoder"):
        model[part] = model[part] | {"dropout": dropout}
    if joint and encoder.width == decoder.width and "tie_embeddings" not in model:
        model["tie_embeddings"] = "all"
    return merge(model, dict(choice.task.model), ModelConfig)


def _train(made: Preset, survey: Survey, machine: Machine, model: dict[str, Any]) -> dict[str, Any]:
    batches = MEMORY_BATCHES if model["encoder"]["kind"] == SENTENCE_ENCODER else BATCHES
    batch_tokens = _first(batches, survey.num_pairs, 8_192)
    epochs = max(MIN_EPOCHS, min(MAX_EPOCHS, round(PAIRS_SEEN / max(1, survey.num_pairs))))
    updates = _updates(made, survey, batch_tokens, epochs)
    every = max(50, min(2_000, updates // VALIDATIONS))
    model = made.with_settings("model", model)
    width = model["decoder"]["width"]
    is_transformer = model["encoder"]["kind"] in TRANSFORMERS
    has_memory = model["encoder"]["kind"] == SENTENCE_ENCODER
    rate = min(0.005, 0.64 / width) if is_transformer or has_memory else min(0.002, 0.512 / width)
    made.say(f"{epochs} epochs", f"{survey.num_pairs:,} pairs", "train.max_epochs")
    made.say(f"{batch_tokens:,} target tokens per update", f"{survey.num_pairs:,} pairs", "train.batch_tokens")
    wide = f"{'Transformer' if is_transformer else 'memory network' if has_memory else 'recurrent'} {width} wide"
    if made.settings.get("train", {}).get("start_from"):
        rate, wide = rate * GENTLER, f"{wide}, and a fifth of that for a model that is already trained"
    made.say(f"learning rate {rate:.2g}", wide, "train.lr")
    precision = "bf16" if machine.prefers_bf16 else "fp32"
    ratio = f"bf16 products are {machine.bf16_ratio:.1f} times as fast here as fp32"
    made.say(precision, ratio, "train.precision")
    parallel = _parallel(machine, int(made.settings.get("train", {}).get("threads", machine.cores)))
    made.say(f"{machine.cores} threads", "the number of cores", "train.threads")
    if parallel == "processes":
        made.say(
            "each update is shared between processes",
            "they wait for each other only at the end of an update",
            "train.parallel",
        )
    made.say(*place(machine.gpu), "train.device")
    return {
        "threads": machine.cores,
        "parallel": parallel,
        "device": machine.device,
        "precision": precision,
        "batch_tokens": batch_tokens,
        "batch_total_ratio": TOTAL_RATIO,
        "micro_batch_tokens": 8_192 if machine.gpu else 1_024,
        "max_epochs": epochs,
        "lr": rate,
        "label_smoothing": 0.0 if has_memory else 0.1,
        "warmup": max(20, min(1_000, updates // 10)),
        "validate_every": every,
        "save_every": every,
    }


def _parallel(machine: Machine, threads: int) -> str:
    """Choose between threads and processes: one process adds all gradients, and many processes would wait for it."""
    return "processes" if can_fork() and not machine.gpu and 1 < threads <= MOST_PROCESSES else "threads"


def _updates(made: Preset, survey: Survey, batch_tokens: int, epochs: int) -> int:
    """Estimate the updates of the run, from the user's limits if they are set."""
    own = made.with_settings("train", {"batch_tokens": batch_tokens, "max_epochs": epochs, "max_updates": 0})
    train = validate_section(TrainConfig, own, "train")
    target, source = (_tokens(side) for side in (survey.target, survey.source))
    size = max(target, (source + target) / TOTAL_RATIO)
    updates = max(1, round(survey.num_pairs * size / train.batch_tokens)) * train.max_epochs
    return min(train.max_updates or updates, updates)


def _tokens(side: SideFacts) -> float:
    """Estimate the tokens of a text: four letters per piece, or 1.5 characters without spaces."""
    return side.mean_characters / (1.5 if is_unspaced(side.script) else 4.0) + 1


def _first(table: tuple[tuple[int, Any], ...], number: int, otherwise: Any) -> Any:
    return next((value for most, value in table if number <= most), otherwise)
