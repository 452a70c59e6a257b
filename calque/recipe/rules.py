"""Every rule between sections of a recipe, in one list, and what a recipe asks of the machine.

A rule takes a recipe and returns the problem that it finds, or None.
"""

import os
from collections.abc import Callable

from calque.errors import ResourceError, UsageError
from calque.folder.budget import Budget, TooLargeError
from calque.model import build
from calque.nn.attention.hierarchical import HierarchicalAttentionConfig
from calque.nn.several import SeveralEncoderConfig
from calque.recipe.graphs import GRAPH_ENCODERS, LAYOUTS_WITHOUT_EDGES
from calque.recipe.lengths import position_limits
from calque.recipe.tree import Recipe
from calque.search.lengths import too_long_a_search
from calque.system.machine import gpu_name, memory_bytes

# Weights, gradients and two moments of the optimizer, each a number of 4 bytes.
TRAINING_BYTES = 4 * 4
# Ten times those of the deepest model that a recipe can describe.
MOST_TENSORS = 1_000_000


def encoders_match_sources(recipe: Recipe) -> str | None:
    """Require an encoder for each source."""
    encoder, num_sources = recipe.model.encoder, len(recipe.data.columns.sources)
    if not isinstance(encoder, SeveralEncoderConfig) or len(encoder.encoders) == num_sources:
        return None
    return (
        f"model.encoder.encoders has {len(encoder.encoders)} encoders, but data.columns.source names {num_sources}"
        f" {'source' if num_sources == 1 else 'sources'}; give every source one encoder, and name the sources, such as"
        ' data.columns.source = ["question", "passage"]'
    )


def hierarchical_attention_has_sources(recipe: Recipe) -> str | None:
    """Require several encoders for hierarchical attention, which attends to each source."""
    encoder, attention = recipe.model.encoder, getattr(recipe.model.decoder, "attention", None)
    if not isinstance(attention, HierarchicalAttentionConfig) or isinstance(encoder, SeveralEncoderConfig):
        return None
    return (
        "model.decoder.attention.kind is hierarchical, which attends to several sources, but model.encoder.kind is"
        f" {encoder.kind}; set model.encoder.kind = several with an encoder for each source, or"
        " model.decoder.attention.kind = general"
    )


def hierarchical_attention_matches_sources(recipe: Recipe) -> str | None:
    """Require hierarchical attention over as many sources as the data have."""
    num_sources, attention = len(recipe.data.columns.sources), getattr(recipe.model.decoder, "attention", None)
    if not isinstance(attention, HierarchicalAttentionConfig) or attention.sources == num_sources:
        return None
    return (
        f"model.decoder.attention.sources is {attention.sources}, but data.columns.source names {num_sources};"
        f" set model.decoder.attention.sources = {num_sources}"
    )


def pointer_has_copying(recipe: Recipe) -> str | None:
    """Require text settings that record which tokens a pointer can copy."""
    if recipe.model.head.kind != "pointer" or recipe.text.copying:
        return None
    return (
        "model.head.kind is pointer, which copies source tokens, but text.copying is false, so they are not recorded;"
        " set text.copying = true, or model.head.kind = softmax"
    )


def graph_encoder_has_edges(recipe: Recipe) -> str | None:
    """Require a layout with edges for an encoder of graphs."""
    encoder, layout = recipe.model.encoder.kind, recipe.text.layout.kind
    if encoder not in GRAPH_ENCODERS or layout not in LAYOUTS_WITHOUT_EDGES:
        return None
    return (
        f"model.encoder.kind is {encoder}, which reads graphs, but text.layout.kind is {layout}; set text.layout.kind ="
        " graph or dependencies for data with edges, neighbours or ngrams for text"
    )


def edges_have_graph_encoder(recipe: Recipe) -> str | None:
    """Refuse edges that no encoder reads."""
    encoder, layout = recipe.model.encoder.kind, recipe.text.layout.kind
    if encoder in GRAPH_ENCODERS or layout in LAYOUTS_WITHOUT_EDGES:
        return None
    return (
        f"text.layout.kind is {layout}, which makes edges, but model.encoder.kind is {encoder}, which reads none; set"
        f" model.encoder.kind = {' or '.join(GRAPH_ENCODERS)}, or text.layout.kind = linearised for graphs and line for"
        " text"
    )


def positions_reach_max_length(recipe: Recipe) -> str | None:
    """Refuse a data.max_length above the number of learned positions."""
    for limit, field in position_limits(recipe.model)[:1]:
        if recipe.data.max_length > limit:
            return (
                f"data.max_length is {recipe.data.max_length}, but {field} is {limit}; lower data.max_length to"
                f" {limit}, raise {field}, or set {field.removesuffix('limit')}kind = sinusoidal, which has no limit"
            )
    return None


def search_ends_soon(recipe: Recipe) -> str | None:
    """Refuse a beam and lengths with which a short source may take minutes."""
    return too_long_a_search(recipe.search)


RULES: tuple[Callable[[Recipe], str | None], ...] = (
    encoders_match_sources,
    hierarchical_attention_has_sources,
    hierarchical_attention_matches_sources,
    pointer_has_copying,
    graph_encoder_has_edges,
    edges_have_graph_encoder,
    positions_reach_max_length,
    search_ends_soon,
)


def check_rules(recipe: Recipe) -> None:
    """Raise UsageError for the first rule that a recipe breaks."""
    for rule in RULES:
        problem = rule(recipe)
        if problem is not None:
            raise UsageError(problem)


def check_machine(recipe: Recipe, source_vocab_size: int, target_vocab_size: int) -> None:
    """Refuse a recipe that cannot be trained here, before memory is taken for its model.

    UsageError for parts that do not go together, too many threads or a missing GPU; ResourceError for a model whose
    weights, gradients and optimizer state are larger than the memory.
    """
    check_threads(recipe.train.threads, "train.threads")
    if recipe.train.device == "cuda" and not gpu_name():
        raise UsageError("train.device is cuda, but this machine has no GPU that PyTorch can use; set it to cpu")
    memory = memory_bytes(recipe.train.device)
    try:
        # Weights are a quarter of what training needs; initialisation may hold a second tensor for each.
        with Budget(memory // 2, MOST_TENSORS):
            model = build(recipe.model, source_vocab_size, target_vocab_size)
        needed = TRAINING_BYTES * sum(parameter.numel() for parameter in model.parameters())
    except (TooLargeError, MemoryError):
        needed = memory + 1
    if needed > memory:
        place = "the GPU" if recipe.train.device == "cuda" else "this machine"
        raise ResourceError(
            f"the weights, gradients and optimizer state of this model need more memory than {place} has"
            f" ({memory / 2**30:,.0f} GiB). Lower width, layers or feed_forward of model.encoder and model.decoder, or"
            " text.vocab_size"
        )


def check_threads(threads: int, name: str) -> None:
    """Refuse more threads than four times the cores, which would do little but wait for each other."""
    most = max(16, 4 * len(os.sched_getaffinity(0)))
    if not 1 <= threads <= most:
        raise UsageError(f"{name}: must be from 1 to {most}, four times the cores or 16 (it is {threads})")
