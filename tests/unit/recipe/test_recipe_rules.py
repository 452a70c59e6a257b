"""Every rule between sections is in one list, and each refuses a recipe that breaks it, with the way out."""

import pytest

from calque.errors import ResourceError, UsageError
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

BROKEN = {
    "encoders_match_sources": (SEVERAL, "every source needs one encoder"),
    "hierarchical_attention_has_sources": (["model.decoder.kind=lstm", HIERARCHICAL, TWO], "set it to several"),
    "hierarchical_attention_matches_sources": (
        [*SEVERAL, TWO, HIERARCHICAL, "model.decoder.attention.sources=3"],
        "set it to 2",
    ),
    "pointer_has_copying": (["model.head.kind=pointer"], "set model.head.kind = softmax"),
    "graph_encoder_has_edges": (["model.encoder.kind=gat"], "text.layout.kind = graph"),
    "edges_have_graph_encoder": (["text.layout.kind=neighbours"], "does not read"),
    "positions_reach_max_length": ([LEARNED, "data.max_length=2000"], "must be at most model.encoder.positions.limit"),
}


def recipe_of(settings: list[str]) -> Recipe:
    """Return the defaults with settings over them."""
    return validate(merge(Recipe().model_dump(), read_settings(settings)))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_each_rule_finds_its_own_problem_and_no_other(rule) -> None:
    """Hold the defaults, break each rule alone, and name the way out."""
    check_rules(recipe_of([]))
    settings, way_out = BROKEN[rule.__name__]
    recipe = recipe_of(settings)
    assert [one.__name__ for one in RULES if one(recipe) is not None] == [rule.__name__]
    with pytest.raises(UsageError, match=way_out):
        check_rules(recipe)


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
