"""Before the first update: from files to facts, a whole recipe, tokenizers and a token store, or back to those of a
run that continues.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from calque.data.files.columns import learn_inputs
from calque.data.files.readers import Columns, Dataset, Example
from calque.data.store.token_store import TokenStore
from calque.data.survey import Survey, development_sample, refuse_too_few, survey
from calque.folder.checkpoint import remove_strays
from calque.folder.record import read_record, versions, write_record
from calque.recipe.graphs import fit_edges
from calque.recipe.layers import flatten, merge, spread_text, validate, with_types
from calque.recipe.origin import with_origin
from calque.recipe.presets import preset
from calque.recipe.renamed import renamed, renamed_keys
from calque.recipe.rules import check_machine, check_rules
from calque.recipe.tree import Recipe
from calque.report.progress import Display
from calque.runs.changes import LIMITS, MAY_CHANGE, changes, require_same
from calque.runs.integrity import (
    check_text,
    record_to_continue,
    require_checkpoint,
    starting,
    stored_recipe,
    text_hashes,
)
from calque.runs.lengths import fit_lengths
from calque.runs.request import Request, describe
from calque.runs.store import open_store
from calque.system.files import write_atomic
from calque.system.machine import Machine, probe
from calque.text.identity import Identity
from calque.text.inputs import Inputs
from calque.text.pair import TextPair, train_text
from calque.text.tokenizers.subword import SentencePieceTokenizer
from calque.text.tokenizers.tags import TaggedTokenizer
from calque.training.starts.vectors import open_vectors


@dataclass(frozen=True)
class Prepared:
    """Everything that a run starts from: `sets` are the data sets by role, `is_finished` is the status in run.json."""

    recipe: Recipe
    text: TextPair
    store: TokenStore
    dev: list[Example]
    sets: dict[str, Dataset]
    is_finished: bool


@dataclass(frozen=True)
class Settled:
    """Everything that a new run starts from: `pairs` are the numbers of pairs by their use."""

    recipe: Recipe
    text: TextPair
    dev: list[Example]
    pairs: dict[str, int]
    machine: Machine


def prepare(request: Request, fresh: bool, display: Display) -> Prepared:
    """Start a run, or read how it was started; raise UsageError if the folder contains a different run."""
    for notice in request.notices:
        display.note(notice)
    sets = open_sets(request)
    digests = {role: dataset.digest() for role, dataset in sets.items()}
    record = record_to_continue(request.out, fresh)
    identity = _identity(request, record)
    for role, dataset in sets.items():
        display.note(f"{role} data {dataset.name}: {dataset.description}")
    if record is None:
        recipe, text, dev = _begin(request, sets, digests, identity, display)
    else:
        recipe, text, dev = _go_on(request, sets, digests, record, identity, display)
    store = open_store(request.out, recipe, text, sets, digests, identity, display)
    # Read again: a raised limit may have changed the status from finished to running.
    is_finished = (read_record(request.out) or {}).get("status") == "finished"
    return Prepared(recipe, text, store, dev, sets, is_finished)


def plan(request: Request, fresh: bool, display: Display) -> Recipe:
    """Return the recipe that a run would have, print its reasons, make the checks of the run, and write nothing."""
    for notice in request.notices:
        display.note(notice)
    sets = open_sets(request)
    record = record_to_continue(request.out, fresh)
    if record is not None:
        digests = {role: dataset.digest() for role, dataset in sets.items()}
        require_same(request.out, describe(request), digests, record)
    return _settle(request, sets, _identity(request, record), display).recipe


def open_sets(request: Request) -> dict[str, Dataset]:
    """Open training, validation and test data."""
    data = request.settings.get("data", {})
    columns = Columns.model_validate(data.get("columns", {}))
    spool = request.out / "data" / "spool"
    read = request.choice.task.read
    sets = {"training": read(request.data, columns, spool)}
    columns = sets["training"].columns
    for role, name in (("validation", "valid"), ("test", "test")):
        if path := request.file_of(name):
            sets[role] = read([path], columns, spool)
    return sets


def _identity(request: Request, record: dict[str, Any] | None) -> Identity:
    """Return how texts are compared: as at the start of the run, or in the Unicode form that its model will read."""
    if record is not None:
        # Records of calque 0.1.0 have no such entry.
        return Identity(record.get("identity", "raw"))
    text = with_origin(request.settings, request.choice.languages).get("text", {})
    return Identity("nfkc" if text.get("normalise") == "nfkc" else "nfc")


def _settle(request: Request, sets: dict[str, Dataset], identity: Identity, display: Display) -> Settled:
    """Decide everything that a new run starts from, raise every error that it would meet, and write nothing."""
    split = "validation" not in sets
    most = int(request.settings.get("train", {}).get("validation_sentences", Recipe().train.validation_sentences))
    facts = survey(sets["training"], split, most, identity)
    dev = facts.held_out if split else development_sample(sets["validation"], most, identity)
    _say_counts(sets["training"], facts, split, len(dev), display)
    _refuse_bad_test(sets)
    for role, dataset in sets.items():
        for notice in dataset.notices():
            display.note(f"{role} data: {notice}")
    machine = probe()
    recipe = _recipe(request, sets["training"].columns, facts, machine, display)
    # A file of vectors that cannot be used is reported before hours of work, not after.
    open_vectors(recipe.text, recipe.model)
    text = _text(recipe, sets["training"], facts, display)
    _use_threads(text, recipe.train.threads)
    recipe = fit_edges(recipe, text, request.settings)
    recipe = fit_lengths(recipe, text, facts, sets["training"].name, request.settings, display)
    check_machine(recipe, text.source.vocab_size, text.target.vocab_size)
    pairs = {"training": facts.num_pairs, "held out": facts.num_held_out, "validation": len(dev)}
    return Settled(recipe, text, dev, pairs, machine)


def _begin(
    request: Request, sets: dict[str, Dataset], digests: dict[str, str], identity: Identity, display: Display
) -> tuple[Recipe, TextPair, list[Example]]:
    settled = _settle(request, sets, identity, display)
    recipe, text = settled.recipe, settled.text
    # The earlier run is removed only after all checks of the new one have passed.
    with starting(request.out):
        text.save(request.out / "text")
        write_recipe(request.out, recipe)
        write_record(
            request.out,
            {
                "status": "running",
                "request": describe(request),
                "data": {role: {"name": sets[role].name, "sha256": digest} for role, digest in digests.items()},
                "pairs": settled.pairs,
                "identity": identity.form,
                "seed": recipe.train.seed,
                "threads": recipe.train.threads,
                "versions": versions(),
                "machine": asdict(settled.machine),
                "recipe": recipe.model_dump(mode="json"),
                "text": text_hashes(request.out),
            },
        )
    return recipe, text, settled.dev


def _go_on(
    request: Request,
    sets: dict[str, Dataset],
    digests: dict[str, str],
    record: dict[str, Any],
    identity: Identity,
    display: Display,
) -> tuple[Recipe, TextPair, list[Example]]:
    asked, before = describe(request), renamed_keys(record["request"])
    require_same(request.out, describe(request), digests, record)
    remove_strays(request.out)
    saved, _ = renamed(stored_recipe(request.out, record, display.note))
    check_text(request.out, record)
    changed = changes(before, asked)
    if record.get("status") != "finished" or changed.keys() & set(LIMITS):
        require_checkpoint(request.out, record)
    for key, value in changed.items():
        display.note(f"{key} is now {value!r}; {MAY_CHANGE[key]}")
        saved.setdefault("train", {})[key.removeprefix("train.")] = value
    # A finished run whose limits do not change stays finished.
    state = {"status": "running"} if changed.keys() & set(LIMITS) else {}
    kept = {key: before[key] for key in before.keys() - changed.keys()}
    recipe = validate(saved)
    check_rules(recipe)
    values = {"recipe": recipe.model_dump(mode="json"), "recipe_before": record["recipe"]}
    # The record is written first: it contains both recipes, and a kill leaves one of the two in recipe.json.
    write_record(request.out, state | {"request": kept | asked, "threads": recipe.train.threads} | values)
    write_recipe(request.out, recipe)
    text, most = TextPair.load(request.out / "text"), recipe.train.validation_sentences
    check_machine(recipe, text.source.vocab_size, text.target.vocab_size)
    _use_threads(text, recipe.train.threads)
    if "validation" in sets:
        return recipe, text, development_sample(sets["validation"], most, identity)
    return recipe, text, survey(sets["training"], True, most, identity).held_out


def write_recipe(folder: Path, recipe: Recipe) -> None:
    """Write recipe.json."""
    values = recipe.model_dump(mode="json")
    write_atomic(folder / "recipe.json", json.dumps(values, indent=2, ensure_ascii=False) + "\n")


def _recipe(request: Request, columns: Columns, facts: Survey, machine: Machine, display: Display) -> Recipe:
    settings = spread_text(with_origin(request.settings, request.choice.languages))
    base = Recipe().model_dump()
    # Invalid settings are refused here, before other defaults are derived from them.
    checked = validate(merge(merge(base, preset(request.choice, facts, machine, columns=columns).layer), settings))
    settings = with_types(settings, checked.model_dump())
    made = preset(request.choice, facts, machine, settings, columns)
    recipe = validate(merge(merge(base, made.layer), settings))
    check_rules(recipe)
    for reason in made.reasons:
        display.note(reason)
    for key, value in flatten(request.settings).items():
        display.note(f"{key} = {value}: set explicitly")
    return recipe


def _text(recipe: Recipe, dataset: Dataset, facts: Survey, display: Display) -> TextPair:
    """Return the text side of the model to start from, or learn one."""
    origin = recipe.train.start_from
    if origin:
        text = TextPair.load(Path(origin) / "text")
    else:
        inputs = _inputs(recipe, dataset, display)
        text = train_text(recipe.text, lambda: iter(facts.source.sample), lambda: iter(facts.target.sample), inputs)
    sizes = f"{text.source.vocab_size:,}" + ("" if text.joint else f" and {text.target.vocab_size:,}")
    display.note(f"{sizes} tokens, those of {origin}" if origin else f"learned {sizes} tokens")
    return text


def _inputs(recipe: Recipe, dataset: Dataset, display: Display) -> Inputs:
    """Return the description of an input line; DataError for tags that are texts."""
    sources = (example.source for example in dataset.examples())
    return learn_inputs(recipe.data.columns, recipe.text.tag_side, sources, display.note)


def _refuse_bad_test(sets: dict[str, Dataset]) -> None:
    """Raise before training the errors that scoring the test data would raise after it."""
    if "test" in sets:
        development_sample(sets["test"], 1)


def _use_threads(text: TextPair, threads: int) -> None:
    for side in (text.source, text.target):
        tokenizer = side.inner if isinstance(side, TaggedTokenizer) else side
        if isinstance(tokenizer, SentencePieceTokenizer):
            tokenizer.num_threads = threads


def _say_counts(dataset: Dataset, facts: Survey, split: bool, num_dev: int, display: Display) -> None:
    refuse_too_few(dataset.name, facts.num_pairs, num_dev, split)
    display.note(f"{facts.num_pairs:,} pairs to train on, {num_dev:,} to validate on")
    if split:
        display.note(
            f"{facts.num_held_out:,} pairs are held out, a tenth by hash of the source; --valid FILE gives other pairs"
        )
    if facts.num_blank:
        display.note(f"{facts.num_blank:,} pairs have an empty side and are left out")
