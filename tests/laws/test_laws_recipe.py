"""Law 17: every value within the bounds of a numeric field trains a step and decodes, or is refused by name before."""

import io
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, get_args

import parts
import pytest
import torch
from parts import VOCAB_SIZE, Case, batch
from pydantic import BaseModel
from toy_language import BRIEF, pairs, write_pairs

import calque
from calque.config import kinds_of, members
from calque.errors import CalqueError, ResourceError, UsageError
from calque.model import Seq2Seq, build
from calque.predict.predictor import single
from calque.predict.reader import batches_of
from calque.recipe import rules
from calque.recipe.layers import Layer, merge, read_settings, validate
from calque.recipe.rules import check_machine, check_rules
from calque.recipe.tree import Recipe
from calque.report.progress import display_for
from calque.runs.prepare import Prepared, plan, prepare
from calque.runs.request import Named, make_request
from calque.search.lengths import longest_output
from calque.search.options import SearchConfig
from calque.search.steps import search
from calque.system.machine import Machine
from calque.training.config import TrainConfig
from calque.training.gradients.here import GradientsHere
from calque.training.objectives.objective import Learner
from calque.training.schedules import learning_rate
from calque.training.state import Position
from calque.training.updates import read_batches, updates

# The memory that the machine is taken to have: a larger model is refused, so that no test needs more.
MEMORY = 2**27
# A model that trains a step in milliseconds; the field under test is set over it.
SMALL = {"layers": 1, "width": 8, "heads": 2, "feed_forward": 8}
MACHINE = Machine(cores=2, memory_bytes=2**33, gpu="", bf16_ratio=1.0)
# Fields whose upper bound means hundreds of layers or thousands of steps.
SLOW = ("layers", "max_length_ratio", "max_length_extra", "min_length")
# Fields that depend on the data, so that only a run from a file of pairs refuses a wrong value.
OF_DATA = ("edge_kinds", "limit", "batch_tokens", "micro_batch_tokens", "seed")
GRAPH_ENCODERS = ("ggnn", "gat", "graph_transformer")
GRAPH = '{"nodes": ["%s", "%s"], "edges": [[0, 1, "before"]], "target": "%s"}\n'
SENTENCE = '{"source": {"tokens": ["%s", "%s"], "heads": [2, 0], "labels": ["next", "root"]}, "target": "%s"}\n'


class Place(NamedTuple):
    """A numeric field: its dotted key, the kinds of the sections above it by their keys, and one of its values."""

    key: str
    kinds: tuple[tuple[str, str], ...]
    value: float

    @property
    def name(self) -> str:
        """Return the last part of the key."""
        return self.key.rpartition(".")[2]

    def __str__(self) -> str:
        return " ".join([f"{self.key}={self.value:.17g}", *(kind for _, kind in self.kinds)])

    @property
    def is_slow(self) -> bool:
        """Return whether a step or a search takes seconds."""
        return self.name in SLOW and self.value > 50


def bounds(metadata: list[Any], integer: bool) -> tuple[float, float]:
    """Return the lowest and the highest value that a field allows."""
    found: dict[str, float] = {
        name: getattr(one, name) for one in metadata for name in ("ge", "gt", "le", "lt") if hasattr(one, name)
    }
    low = found["ge"] if "ge" in found else math.nextafter(found["gt"], math.inf)
    high = found["le"] if "le" in found else math.nextafter(found["lt"], -math.inf)
    assert not (integer and found.keys() & {"gt", "lt"}), "an integer has inclusive bounds"
    return low, high


def is_number(annotation: Any) -> bool:
    """Return whether a field holds an integer or a float."""
    return annotation in (int, float) or any(one in (int, float) for one in get_args(annotation))


def places(section: type[BaseModel], prefix: str, kinds: tuple[tuple[str, str], ...] = ()) -> Iterator[Place]:
    """Yield the extremes of every numeric field of a section, once for each kind of the sections above it."""
    for name, field in section.model_fields.items():
        key = f"{prefix}.{name}" if prefix else name
        below = list(members(field.annotation)) if name != "encoders" else []
        for member in below:
            chosen = ((key, kinds_of(member)[0]),) if len(below) > 1 else ()
            yield from places(member, key, kinds + chosen)
        if is_number(field.annotation):
            for value in dict.fromkeys(bounds(field.metadata, field.annotation is int)):
                yield Place(key, kinds, value)


def inner(place: Place) -> Iterator[Place]:
    """Yield values next to an extreme, and one half-way: parities and divisors differ from those of the bounds."""
    for value in (place.value + 1, place.value - 1, place.value / 2):
        yield place._replace(value=int(value) if isinstance(place.value, int) else value)


ALL = list(places(Recipe, ""))
OF_MODEL = [one for one in ALL if one.key.split(".")[0] in ("model", "train", "search") and one.name not in OF_DATA]
OF_RUNS = [one for one in ALL if one not in OF_MODEL]
WITHIN = {one.key: [other.value for other in ALL if other.key == one.key] for one in ALL}


def case_of(found: list[Place]) -> list[Any]:
    """Return the places as parameters; those that take long are marked slow."""
    return [
        pytest.param(one, id=str(one), marks=[pytest.mark.slow] if one.is_slow else []) for one in dict.fromkeys(found)
    ]


def layer_of(place: Place) -> Layer:
    """Return a small recipe in which only the field of a place is extreme."""
    kinds = dict(place.kinds)
    several = kinds.get("model.decoder.attention") == "hierarchical" or kinds.get("model.encoder") == "several"
    encoder = "several" if several else kinds.get("model.encoder", "transformer")
    decoder = kinds.get("model.decoder", "transformer")
    layer: Layer = {
        "model": {"encoder": {"kind": encoder, **small(encoder, "encoder")}, "decoder": {"kind": decoder}},
        "train": {"threads": 1},
        "search": {"max_length_extra": 2},
    }
    if encoder in GRAPH_ENCODERS:
        layer = merge(layer, {"text": {"layout": {"kind": "graph"}}})
    if encoder == "several":
        layer = merge(layer, {"data": {"columns": {"source": ["one", "two"]}}})
        layer["model"]["encoder"] = {"kind": "several", "encoders": [{"kind": "lstm", **small("lstm", "encoder")}] * 2}
    layer["model"]["decoder"] |= small(decoder, "decoder")
    for key, kind in place.kinds:
        layer = merge(layer, nested(f"{key}.kind", kind))
    if place.name == "n_best":
        layer = merge(layer, {"search": {"beam": place.value}})
    if place.is_slow and place.key.startswith("search."):
        # The steps of this search are many: they are to be quick.
        layer = merge(layer, {"search": {"beam": 1}})
        layer["model"]["decoder"] = {"kind": "lstm", "width": 8}
    return merge(layer, nested(place.key, place.value))


def small(kind: str, side: str) -> Layer:
    """Return the sizes of a small part, those that its kind has."""
    (model,) = members(Recipe.model_fields["model"].annotation)
    (section,) = members(model.model_fields[side].annotation, kind)
    return {name: value for name, value in SMALL.items() if name in section.model_fields}


def nested(key: str, value: object) -> Layer:
    """Return a layer that sets one field."""
    *path, last = key.split(".")
    layer: Layer = {last: value}
    for part in reversed(path):
        layer = {part: layer}
    return layer


def take_update(model: Seq2Seq, config: TrainConfig, stream: Iterator[Any]) -> None:
    """Take one update; the loss stays finite."""
    optimizer = config.optimizer.build(model.parameters(), config.lr)
    gradients = GradientsHere(Learner(model, config.objective.build(config.label_smoothing)), config)

    def rate(step: int) -> float:
        return learning_rate(config.schedule, config.lr, config.warmup, step, config.max_updates or 10)

    record = next(updates(model, optimizer, stream, gradients, rate, config, Position()))
    assert math.isfinite(record.loss)


def trains_and_decodes(recipe: Recipe) -> None:
    """Take one update and answer two sources; loss and scores stay finite."""
    torch.manual_seed(0)
    model = build(recipe.model, VOCAB_SIZE, VOCAB_SIZE)
    names = [name for name, section in parts.ENCODERS.items() if section["kind"] == recipe.model.encoder.kind]
    case = Case((("encoder", names[0]), ("head", recipe.model.head.kind)))
    take_update(model, recipe.train, iter([[batch(case, seed=1, num_rows=3), batch(case, seed=2, num_rows=2)]]))
    source = batch(case, seed=3, num_rows=2).source
    with torch.inference_mode():
        found = search(model.eval(), source, source.mask.sum(dim=1), recipe.search)
    assert found.tokens.shape[:2] == (2, recipe.search.n_best)
    assert found.scores[:, 0].isfinite().all()
    assert found.lengths[:, 0].min() >= recipe.search.min_length


def holds(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hold one value to the law."""
    monkeypatch.setattr(rules, "memory_bytes", lambda device: MEMORY)
    torch.set_num_threads(1)
    refused = None
    try:
        recipe = validate(merge(Recipe().model_dump(), layer_of(place)))
        check_rules(recipe)
        check_machine(recipe, VOCAB_SIZE, VOCAB_SIZE)
    except (ResourceError, UsageError) as error:
        refused = error
    if refused is None:
        trains_and_decodes(recipe)
    else:
        assert ("memory" if isinstance(refused, ResourceError) else place.name) in str(refused)


@pytest.mark.parametrize("place", case_of(OF_MODEL))
def test_an_extreme_trains_a_step_or_is_refused_by_name(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    holds(place, monkeypatch)


@pytest.mark.slow
def test_values_between_the_extremes_train_a_step_or_are_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = [one for place in OF_MODEL for one in inner(place) if one.name not in SLOW]
    tried = [one for one in dict.fromkeys(tried) if min(WITHIN[one.key]) <= one.value <= max(WITHIN[one.key])]
    assert len(tried) > 200
    for place in tried:
        holds(place, monkeypatch)


def data_for(place: Place, folder: Path) -> Path:
    """Write pairs that the layout of a place reads: lines, graphs, or sentences with their dependencies."""
    layout, encoder = (dict(place.kinds).get(key, "line") for key in ("text.layout", "model.encoder"))
    form = SENTENCE if layout == "dependencies" else GRAPH if layout == "graph" or encoder in GRAPH_ENCODERS else None
    if form is None:
        return write_pairs(folder / "pairs.tsv", 40)
    records = [form % (*source.split()[:1], source.split()[-1], target) for source, target in pairs(40)]
    (folder / "pairs.jsonl").write_text("".join(dict.fromkeys(records)), encoding="utf-8")
    return folder / "pairs.jsonl"


def settings_for(place: Place) -> Layer:
    """Return the settings of a run in which only the field of a place is extreme."""
    kinds = [f"{key}.kind={kind}" for key, kind in place.kinds]
    if any(key == "text.layout" and kind not in ("line", "linearised") for key, kind in place.kinds):
        kinds.append("model.encoder.kind=ggnn")
    if any(key.endswith("positions") for key, _ in place.kinds):
        kinds += ["model.encoder.kind=transformer", "model.decoder.kind=transformer"]
    settings = merge(read_settings([*BRIEF, "train.threads=1", "train.micro_batch_tokens=64"]), read_settings(kinds))
    return merge(settings, nested(place.key, place.value))


@pytest.mark.parametrize("place", case_of([*OF_RUNS, Place("data.max_length", (), 1), Place("data.max_length", (), 2)]))
def test_an_extreme_of_data_and_text_trains_a_step_or_is_refused_by_name(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(1)
    # Measuring the machine takes longer than all the rest.
    monkeypatch.setattr("calque.runs.prepare.probe", lambda: MACHINE)
    data, display = data_for(place, tmp_path), display_for(io.StringIO(), quiet=True)
    named = Named("gru", "tiny", "translation", None)
    request = make_request([str(data)], tmp_path / "run", named, settings_for(place))
    try:
        prepared = prepare(request, fresh=False, display=display)
    except CalqueError as error:
        refused = type(error), str(error)
    else:
        answers(prepared)
        return
    assert place.name in refused[1]
    # A dry run makes the same checks.
    with pytest.raises(refused[0], match=re.escape(refused[1])):
        plan(request, fresh=False, display=display)


def answers(prepared: Prepared) -> None:
    """Take one update of a prepared run, and answer a source."""
    recipe, text = prepared.recipe, prepared.text
    torch.manual_seed(recipe.train.seed)
    model = build(recipe.model, text.source.vocab_size, text.target.vocab_size)
    take_update(model, recipe.train, read_batches(prepared.store, recipe.train, Position()))
    predictor = single(model, text, recipe.search, recipe.task, recipe.data.max_length)
    assert isinstance(predictor(prepared.dev[0].source), str)


@pytest.mark.parametrize("bound", [0, 1])
def test_a_run_with_all_numbers_of_its_course_at_their_extremes(bound: int, tmp_path: Path) -> None:
    """Train, validate, save and score; one update ends the run, or one epoch where there is no limit of updates."""
    names = ("patience", "validate_every", "save_every", "save_minutes", "validation_sentences", "warmup", "clip", "lr")
    course = {f"train.{name}": WITHIN[f"train.{name}"][bound] for name in names}
    ends = {"train.max_updates": 0, "train.max_epochs": 1} if bound else {"train.max_updates": 1}
    last = {"train.max_epochs": WITHIN["train.max_epochs"][1]} if not bound else {}
    beam = {"train.validation_beam": 1 if bound else WITHIN["train.validation_beam"][1]}
    settings = merge(read_settings([*BRIEF, "train.threads=1"]), {})
    for key, value in {**course, **ends, **last, **beam}.items():
        settings = merge(settings, nested(key, value))
    model = calque.train(pairs(40), out=tmp_path / "run", model="gru", size="tiny", quiet=True, settings=settings)
    assert isinstance(model("one two"), str)


def test_every_number_of_the_recipe_is_tried() -> None:
    """Walk unions and optional fields; a number in a place that is not looked at would escape the law."""
    assert {one.key.split(".")[0] for one in ALL} == {"data", "text", "model", "train", "search"}
    assert len({(one.key, one.kinds) for one in ALL}) > 110
    assert {"train.optimizer.beta1", "text.layout.n", "model.decoder.attention.kernel"} <= WITHIN.keys()


@pytest.mark.parametrize("field", ["beam", "max_length_extra", "max_length_ratio", "min_length"])
def test_wide_beams_and_long_outputs_make_batches_smaller(field: str) -> None:
    """Bound what a search of many lines keeps in memory: hypotheses, and the tokens that they may have."""
    highest = int(WITHIN[f"search.{field}"][1])
    lengths = [16] * 500
    usual = [len(found) for found in batches_of(lengths, 0, SearchConfig())]
    options = SearchConfig.model_validate({field: highest})
    sizes = [len(found) for found in batches_of(lengths, 0, options)]
    assert sum(sizes) == sum(usual) == 500
    longest = max(16 * options.max_length_ratio + options.max_length_extra, options.min_length)
    assert max(sizes) * options.beam <= 2**11
    assert max(sizes) == 1 or max(sizes) * options.beam * longest <= 2**22
    assert max(usual) == 128


def test_a_number_that_follows_from_the_data_stays_within_its_bounds(tmp_path: Path) -> None:
    """Train on words that stand for a page: outputs are a thousand times longer than sources."""
    data = tmp_path / "pairs.tsv"
    data.write_text("".join(f"{source.split()[0]}{row}\t{'ab' * 500}\n" for row, (source, _) in enumerate(pairs(40))))
    request = make_request(
        [str(data)], tmp_path / "run", Named("gru", "tiny", "translation", None), [*BRIEF, "text.joint=false"]
    )
    recipe = plan(request, fresh=False, display=display_for(io.StringIO(), quiet=True))
    check_rules(recipe)
    assert longest_output(1, recipe.search) >= 400
