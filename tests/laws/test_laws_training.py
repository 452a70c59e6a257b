"""Laws 11 and 14: every config builds from its defaults, trains a step and decodes; the verbs stay callable."""

import importlib
import math
import pkgutil
from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin

import parts
import pytest
import torch
from parts import VOCAB_SIZE, Case, batch
from pydantic import BaseModel

import calque
from calque.catalog import ARCHITECTURES, SIZES, architecture
from calque.model import ModelConfig, Seq2Seq, build
from calque.recipe.layers import merge
from calque.recipe.tree import Recipe
from calque.search.options import SearchConfig
from calque.search.steps import search
from calque.tasks.kinds import TaskConfig, task_metrics
from calque.tasks.table import TASKS
from calque.text.pair import TextConfig, TextPair, train_text
from calque.text.tokenizers.kinds import IMPORTED
from calque.training.config import TrainConfig
from calque.training.gradients.here import GradientsHere
from calque.training.objectives.objective import Learner
from calque.training.state import Position
from calque.training.updates import updates

VERBS = ("train", "load", "evaluate", "check")


def kinds(owner: type[BaseModel], field: str) -> list[str]:
    """Return the kinds that a field of a section may have."""

    def members(annotation: Any) -> Iterator[type[BaseModel]]:
        if isinstance(annotation, type):
            yield annotation
        elif get_origin(annotation) is Annotated:
            yield from members(get_args(annotation)[0])
        else:
            for part in get_args(annotation):
                yield from members(part)

    found = members(owner.model_fields[field].annotation)
    return [kind for member in found for kind in get_args(member.model_fields["kind"].annotation)]


def model_of(section: dict[str, Any]) -> ModelConfig:
    """Return a model's section over the class defaults."""
    return ModelConfig.model_validate(merge(ModelConfig().model_dump(), section, ModelConfig))


ENCODERS, DECODERS = kinds(ModelConfig, "encoder"), kinds(ModelConfig, "decoder")
ATTENTIONS = kinds(type(model_of({"decoder": {"kind": "lstm"}}).decoder), "attention")
OPTIMIZERS, OBJECTIVES = kinds(TrainConfig, "optimizer"), kinds(TrainConfig, "objective")
TOKENIZERS = [kind for kind in kinds(TextConfig, "source") if kind not in IMPORTED]


def listed(axis: dict[str, dict[str, Any]], kind: str) -> str:
    """Return the name under which `parts.py` has a kind; what joins a union must be there, to be held to the laws."""
    names = [name for name, section in axis.items() if section["kind"] == kind]
    assert names, f"{kind} is not listed in tests/laws/parts.py"
    return names[0]


def encoder_section(kind: str) -> dict[str, Any]:
    """Return an encoder's defaults, and the fields that depend on the data."""
    given = parts.ENCODERS[listed(parts.ENCODERS, kind)]
    return {"kind": kind} | {key: given[key] for key in ("encoders", "edge_kinds") if key in given}


def trains_and_decodes(model_config: ModelConfig, config: TrainConfig) -> None:
    """Take one update, which moves weights and stays finite, and answer two sources."""
    model = build_small(model_config)
    # Data that this encoder and this head can read.
    case = Case((("encoder", listed(parts.ENCODERS, model_config.encoder.kind)), ("head", model_config.head.kind)))
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = config.optimizer.build(model.parameters(), config.lr)
    stream = iter([[batch(case, seed=1, num_rows=3), batch(case, seed=2, num_rows=2)]])
    gradients = GradientsHere(Learner(model, config.objective.build(config.label_smoothing)), config)
    (record,) = updates(model, optimizer, stream, gradients, lambda step: config.lr, config, Position())
    assert math.isfinite(record.loss)
    assert record.loss < 5 * math.log(VOCAB_SIZE)
    assert any(not torch.equal(before[name], parameter) for name, parameter in model.named_parameters())
    source = batch(case, seed=3, num_rows=2).source
    with torch.inference_mode():
        found = search(model.eval(), source, source.mask.sum(dim=1), SearchConfig(max_length_extra=2))
    assert found.scores.isfinite().all()
    assert found.tokens.shape[:2] == (2, 1)


def build_small(config: ModelConfig) -> Seq2Seq:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    return build(config, VOCAB_SIZE, VOCAB_SIZE)


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("size", SIZES)
def test_every_architecture_builds_in_every_size(name: str, size: str) -> None:
    config = model_of(architecture(name, size))
    with torch.device("meta"):
        model = build(config, 101, 99)
    assert model.encoder.embedding.weight.shape == (101, config.encoder.width)
    assert model.head.projection.weight.shape == (99, config.decoder.width)
    # The recipe that a run writes holds it whole.
    assert ModelConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_trains_and_decodes_in_its_tiny_size(name: str) -> None:
    trains_and_decodes(model_of(architecture(name, "tiny")), TrainConfig(threads=1))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_larger_sizes_have_more_parameters(name: str) -> None:
    counts = []
    for size in SIZES:
        with torch.device("meta"):
            model = build(model_of(architecture(name, size)), 100, 100)
        counts.append(sum(parameter.numel() for parameter in model.parameters()))
    assert counts == sorted(set(counts))


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("decoder", DECODERS)
def test_every_encoder_and_decoder_builds_from_its_defaults(encoder: str, decoder: str) -> None:
    config = model_of({"encoder": encoder_section(encoder), "decoder": {"kind": decoder}})
    trains_and_decodes(config, TrainConfig(threads=1))


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_every_attention_builds_from_its_defaults(attention: str) -> None:
    name = listed(parts.ATTENTIONS, attention)
    choices = [dict(case.options) for case in parts.ALL]
    encoders = {choice["encoder"] for choice in choices if choice["attention"] == name}
    # One that reads plain sentences, if it goes with such.
    encoder = encoder_section("transformer" if "transformer" in encoders else parts.ENCODERS[min(encoders)]["kind"])
    config = model_of({"encoder": encoder, "decoder": {"kind": "lstm", "attention": {"kind": attention}}})
    trains_and_decodes(config, TrainConfig(threads=1))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_optimizer_trains_from_its_defaults(optimizer: str, precision: str) -> None:
    section = {"threads": 1, "precision": precision, "optimizer": {"kind": optimizer}}
    small = {"encoder": {"width": 16}, "decoder": {"width": 16}}
    trains_and_decodes(model_of(small), TrainConfig.model_validate(section))


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_objective_trains_from_its_defaults(objective: str, precision: str) -> None:
    section = {"threads": 1, "precision": precision, "objective": {"kind": objective}}
    small = {"encoder": {"width": 16}, "decoder": {"width": 16}}
    trains_and_decodes(model_of(small), TrainConfig.model_validate(section))


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_every_tokenizer_learns_from_its_defaults(kind: str) -> None:
    config = TextConfig.model_validate({"source": {"kind": kind}, "target": {"kind": kind}})
    lines = ["the kettle is on the stove", "a train leaves at noon"] * 3
    text = train_text(config, lambda: iter(lines), lambda: iter(lines))
    assert isinstance(text, TextPair)
    assert [text.target.decode(ids) for ids in text.encode_target(lines)] == lines


def test_the_unions_are_as_known() -> None:
    """What the tests above run over is all there is: a kind that joins is held to the laws by being listed."""
    for union, axis in ((ENCODERS, parts.ENCODERS), (DECODERS, parts.DECODERS), (ATTENTIONS, parts.ATTENTIONS)):
        assert {"none", "lstm"} & set(union)
        assert set(union) == {section["kind"] for section in axis.values()}
    # Those of docs/extending.md join in its test.
    assert set(OPTIMIZERS) - {"averaged_adam"} == {"adam", "adamw"}
    assert set(OBJECTIVES) - {"r_drop"} == {"likelihood"}
    assert set(TOKENIZERS) == {"sentencepiece", "word", "character", "byte"}
    assert set(IMPORTED) == set(kinds(TextConfig, "source")) - set(TOKENIZERS)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_measures_from_its_defaults(task: str) -> None:
    for metric in task_metrics(TaskConfig(kind=task)):
        assert math.isfinite(metric.score(["a b"], [("a b",)]).value)


def test_every_section_has_defaults() -> None:
    assert Recipe.model_validate(Recipe().model_dump()) == Recipe()


def test_verbs_are_callable_after_every_module_was_imported() -> None:
    names = [module.name for module in pkgutil.walk_packages(calque.__path__, "calque.")]
    assert len(names) > 50
    for name in names:
        importlib.import_module(name)
    assert set(VERBS) <= set(calque.__all__)
    for verb in VERBS:
        assert callable(getattr(calque, verb)), verb
        assert getattr(calque, verb) is getattr(importlib.import_module("calque.api"), verb)


def test_an_unknown_verb_names_the_known_ones() -> None:
    with pytest.raises(AttributeError, match="train"):
        calque.tarin  # noqa: B018
