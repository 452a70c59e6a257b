"""Every rule between sections is in one list, and each refuses a recipe that breaks it, with the way out."""

import pytest

from calque.errors import ResourceError, UsageError
from calque.recipe.graphs import GRAPH_ENCODERS
from calque.recipe.layers import merge, read_settings, validate
from calque.recipe.rules import RULES, check_machine, check_rules, check_threads
from calque.recipe.tree import Recipe

SEVERAL = [
    "model.encoder.kind=several",
    'model.encoder.encoders=[{kind="lstm",width=8},{kind="lstm",width=8}]',
    "model.decoder.kind=lstm",
    "model.decoder.width=8",
]
TWO = 'data.columns.source=["one", "two"]'
HIERARCHICAL = "model.decoder.attention.kind=hierarchical"
LEARNED = "model.encoder.positions.kind=learned"

# Settings that break each rule, and what its message names: fields with their values, and what to set instead.
BROKEN = {
    "encoders_match_sources": (
        SEVERAL,
        ["model.encoder.encoders has 2 encoders", "data.columns.source names 1 source;", "data.columns.source = ["],
    ),
    "hierarchical_attention_has_sources": (
        ["model.decoder.kind=lstm", HIERARCHICAL, TWO],
        [
            "model.decoder.attention.kind is hierarchical",
            "model.encoder.kind is transformer",
            "model.encoder.kind = several",
            "model.decoder.attention.kind = general",
        ],
    ),
    "hierarchical_attention_matches_sources": (
        [*SEVERAL, TWO, HIERARCHICAL, "model.decoder.attention.sources=3"],
        [
            "model.decoder.attention.sources is 3",
            "data.columns.source names 2",
            "model.decoder.attention.sources = 2",
        ],
    ),
    "pointer_has_copying": (
        ["model.head.kind=pointer"],
        ["model.head.kind is pointer", "text.copying is false", "text.copying = true", "model.head.kind = softmax"],
    ),
    "graph_encoder_has_edges": (
        ["model.encoder.kind=gat"],
        ["model.encoder.kind is gat", "text.layout.kind is line", "text.layout.kind = graph"],
    ),
    "edges_have_graph_encoder": (
        ["text.layout.kind=neighbours"],
        ["text.layout.kind is neighbours", "model.encoder.kind is transformer", "model.encoder.kind = ggnn",
         "text.layout.kind = linearised"],
    ),
    "search_ends_soon": (["search.beam=1024"], ["search.beam is 1024", "36 tokens", "4,096", "search.beam = 113"]),
    "positions_reach_max_length": (
        [LEARNED, "data.max_length=2000"],
        ["data.max_length is 2000", "model.encoder.positions.limit is 1024", "lower data.max_length to 1024",
         "model.encoder.positions.kind = sinusoidal"],
    ),
}  # fmt: skip
# What the ways out of a message are as settings, over those that broke the rule.
WAYS_OUT = {
    "encoders_match_sources": [[TWO]],
    "hierarchical_attention_has_sources": [SEVERAL, ["model.decoder.attention.kind=general"]],
    "hierarchical_attention_matches_sources": [["model.decoder.attention.sources=2"]],
    "pointer_has_copying": [["text.copying=true"], ["model.head.kind=softmax"]],
    "graph_encoder_has_edges": [
        [f"text.layout.kind={kind}"] for kind in ("graph", "dependencies", "neighbours", "ngrams")
    ],
    "edges_have_graph_encoder": [
        *([f"model.encoder.kind={kind}"] for kind in GRAPH_ENCODERS),
        ["text.layout.kind=linearised"],
        ["text.layout.kind=line"],
    ],
    "search_ends_soon": [["search.beam=113"]],
    "positions_reach_max_length": [
        ["data.max_length=1024"],
        ["model.encoder.positions.limit=2000"],
        ["model.encoder.positions.kind=sinusoidal"],
    ],
}


def recipe_of(settings: list[str]) -> Recipe:
    """Return the defaults with settings over them."""
    return validate(merge(Recipe().model_dump(), read_settings(settings)))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_each_rule_names_fields_values_and_ways_out(rule) -> None:
    """Break each rule alone; its message names the fields with their values and what to set."""
    check_rules(recipe_of([]))
    settings, named = BROKEN[rule.__name__]
    recipe = recipe_of(settings)
    assert [one.__name__ for one in RULES if one(recipe) is not None] == [rule.__name__]
    with pytest.raises(UsageError) as caught:
        check_rules(recipe)
    message = str(caught.value)
    assert [part for part in named if part not in message] == [], message
    assert "\n" not in message


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_ways_out_of_each_rule_lead_out(rule) -> None:
    """Follow the message: the recipe then keeps every rule."""
    assert WAYS_OUT[rule.__name__]
    for way in WAYS_OUT[rule.__name__]:
        check_rules(recipe_of([*BROKEN[rule.__name__][0], *way]))


def test_a_model_that_memory_cannot_hold_is_refused_before_it_is_built() -> None:
    """Count parameters without allocating them; exit code 4, with the size and what to lower."""
    wide = recipe_of(["model.encoder.width=65536", "model.encoder.layers=64", "model.encoder.heads=64"])
    with pytest.raises(ResourceError, match=r"weights, gradients .* GiB.*Lower") as caught:
        check_machine(wide, 100, 100)
    assert caught.value.exit_code == 4
    check_machine(recipe_of([]), 100, 100)


def test_what_no_machine_of_this_kind_can_do() -> None:
    """Build as a run builds, so that parts that do not fit together are refused."""
    with pytest.raises(UsageError, match=r"multiple of model\.encoder\.heads"):
        check_machine(recipe_of(["model.encoder.width=100", "model.encoder.heads=3"]), 100, 100)


@pytest.mark.parametrize("threads", [0, -1, 100_000])
def test_threads_stay_within_the_machine(threads: int) -> None:
    """Refuse none, fewer than none, and so many that the machine does nothing else."""
    with pytest.raises(UsageError, match=rf"--threads: must be from 1 to \d+.*it is {threads}"):
        check_threads(threads, "--threads")
    check_threads(1, "--threads")
