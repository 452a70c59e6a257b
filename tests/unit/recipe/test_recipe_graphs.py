"""Graphs in a recipe: what data and model ask for by themselves, and combinations that make no sense."""

from typing import Any, get_args

import pytest

from calque.catalog import architecture
from calque.data.survey import SideFacts, Survey
from calque.errors import UsageError
from calque.model import EncoderConfig
from calque.recipe.graphs import GRAPH_ENCODERS, fit_edges, form_of_sources, layout_kind
from calque.recipe.layers import Layer, merge, validate
from calque.recipe.presets import Choice, preset
from calque.recipe.rules import check_rules
from calque.recipe.tree import Recipe
from calque.system.machine import Machine
from calque.text.pair import train_text

GRAPH = '{"nodes":["Odo Birk","a kite"],"edges":[[0,1,"flies"]]}'
SENTENCE = '{"tokens":["kites","fly"],"heads":[2,0],"labels":["nsubj","root"]}'
MACHINE = Machine(cores=2, memory_bytes=2**33, gpu="", bf16_ratio=1.0)


def facts(*sources: str) -> Survey:
    source, target = (SideFacts(30.0, "Latin", 40, list(lines)) for lines in (sources, ("kites fly",)))
    return Survey(20_000, 100, 0, source, target, [])


def recipe_for(source: str, model: str = "auto", settings: Layer | None = None) -> tuple[Recipe, list[str]]:
    made = preset(Choice(model=model), facts(source, source), MACHINE, settings)
    return validate(merge(merge(Recipe().model_dump(), made.layer), settings or {})), made.reasons


def test_every_encoder_with_kinds_of_edges_is_known_as_one_of_graphs() -> None:
    members = get_args(get_args(EncoderConfig)[0])
    reading = [member for member in members if "edge_kinds" in member.model_fields]
    assert {member.model_fields["kind"].default for member in reading} == set(GRAPH_ENCODERS)
    assert architecture("graph", "tiny")["encoder"]["kind"] in GRAPH_ENCODERS


@pytest.mark.parametrize(
    ("source", "model", "encoder", "layout"),
    [
        (GRAPH, "auto", "graph_transformer", "graph"),
        (GRAPH, "graph", "graph_transformer", "graph"),
        (GRAPH, "lstm", "lstm", "linearised"),
        (GRAPH, "transformer", "transformer", "linearised"),
        (SENTENCE, "auto", "graph_transformer", "dependencies"),
        (SENTENCE, "gru", "gru", "linearised"),
        ("kites fly", "graph", "graph_transformer", "neighbours"),
        ("kites fly", "auto", "transformer", "line"),
    ],
)
def test_data_and_model_choose_the_layout_and_say_so(source: str, model: str, encoder: str, layout: str) -> None:
    recipe, reasons = recipe_for(source, model)
    assert (recipe.model.encoder.kind, recipe.text.layout.kind) == (encoder, layout)
    check_rules(recipe)
    said = [reason for reason in reasons if reason.startswith("source layout")]
    assert len(said) == (layout != "line")
    assert not said or layout in said[0]
    if model == "auto" and source != "kites fly":
        assert any(reason.startswith("model graph: the sources are") for reason in reasons)


def test_what_the_user_sets_goes_before_and_decides_the_rest() -> None:
    recipe, reasons = recipe_for("kites fly", settings={"model": {"encoder": {"kind": "ggnn"}}})
    assert (recipe.model.encoder.kind, recipe.text.layout.kind) == ("ggnn", "neighbours")
    recipe, reasons = recipe_for("kites fly", "graph", {"text": {"layout": {"kind": "ngrams", "n": 4}}})
    assert recipe.text.layout.model_dump() == {"kind": "ngrams", "n": 4}
    assert not any(reason.startswith("source layout") for reason in reasons)
    recipe, _ = recipe_for(GRAPH, settings={"text": {"layout": {"levi": False}}})
    assert recipe.text.layout.model_dump() == {"kind": "graph", "levi": False, "labels": 64}


def test_a_mixture_is_read_as_text_and_told() -> None:
    assert form_of_sources([GRAPH, GRAPH, "kites"]) == ("line", "2 graphs, 1 texts in a sample")
    assert form_of_sources([]) == ("line", "the sources are texts")
    assert form_of_sources([SENTENCE]) == ("dependencies", "the sources are sentences with their dependencies")
    assert form_of_sources([f"news\t{GRAPH}"]) == ("graph", "the sources are graphs")
    assert layout_kind("line", "ggnn") == "neighbours"


@pytest.mark.parametrize("encoder", GRAPH_ENCODERS)
@pytest.mark.parametrize("layout", ["line", "linearised"])
def test_an_encoder_of_graphs_without_edges_is_refused(encoder: str, layout: str) -> None:
    recipe, _ = recipe_for(GRAPH, settings=settings_of(encoder, layout))
    with pytest.raises(
        UsageError, match=rf"model\.encoder\.kind is {encoder}, which reads graphs.*{layout}; set text\.layout\.kind"
    ):
        check_rules(recipe)


@pytest.mark.parametrize("encoder", ["lstm", "transformer"])
@pytest.mark.parametrize("layout", ["graph", "dependencies", "neighbours", "ngrams"])
def test_edges_that_no_encoder_sees_are_refused(encoder: str, layout: str) -> None:
    recipe, _ = recipe_for(GRAPH, settings=settings_of(encoder, layout))
    with pytest.raises(UsageError, match=rf"text\.layout\.kind is {layout}, which makes edges.*{encoder}.*linearised"):
        check_rules(recipe)


def settings_of(encoder: str, layout: str) -> dict[str, Any]:
    return {"model": {"encoder": {"kind": encoder}}, "text": {"layout": {"kind": layout}}}


def test_the_encoder_gets_as_many_kinds_of_edges_as_the_text_has() -> None:
    words = {"source": {"kind": "word"}, "target": {"kind": "word"}, "joint": False}
    for layout, kinds in (({"kind": "graph"}, 2), ({"kind": "graph", "levi": False}, 3), ({"kind": "ngrams"}, 3)):
        recipe, _ = recipe_for(GRAPH, settings={"text": {**words, "layout": layout}})
        text = train_text(recipe.text, lambda: iter([GRAPH]), lambda: iter(["kites fly"]))
        fitted = fit_edges(recipe, text)
        assert fitted.model.encoder.edge_kinds == text.layout.num_edge_kinds == kinds  # type: ignore[union-attr]
        assert replace_kinds(fitted) == replace_kinds(recipe)
        assert fit_edges(recipe, text, {"model": {"encoder": {"edge_kinds": kinds}}}) == fitted
        with pytest.raises(UsageError, match=rf"edge_kinds is 7, but the sources have {kinds} kinds"):
            fit_edges(recipe, text, {"model": {"encoder": {"edge_kinds": 7}}})
    plain, _ = recipe_for("kites fly", settings={"text": words})
    text = train_text(plain.text, lambda: iter(["kites fly"]), lambda: iter(["kites fly"]))
    assert fit_edges(plain, text) == plain


def replace_kinds(recipe: Recipe) -> Layer:
    values = recipe.model_dump()
    values["model"]["encoder"]["edge_kinds"] = 0
    return values
