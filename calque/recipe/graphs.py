"""Graphs in a recipe: the layout that suits data and model, and the kinds of edges."""

from collections import Counter
from collections.abc import Sequence
from itertools import islice

from calque.errors import UsageError
from calque.recipe.layers import Layer, flatten, validate
from calque.recipe.tree import Recipe
from calque.text.graph.graph import Form, form_of
from calque.text.inputs import BETWEEN
from calque.text.pair import TextPair

SAMPLE_LINES = 1_000
GRAPH_ENCODERS = ("ggnn", "gat", "graph_transformer")
SENTENCE_ENCODER = "memory"
LAYOUTS_WITHOUT_EDGES = ("line", "linearised", "sentences")


def form_of_sources(sample: Sequence[str]) -> tuple[Form, str]:
    """Return the form of the sources of a data set, and its description; a mixture counts as lines.

    With a tag or several sources, the last text decides.
    """
    counts: Counter[Form] = Counter(form_of(line.rpartition(BETWEEN)[2]) for line in islice(sample, SAMPLE_LINES))
    names = {"line": "texts", "graph": "graphs", "dependencies": "sentences with their dependencies"}
    if len(counts) > 1:
        return "line", ", ".join(f"{count:,} {names[form]}" for form, count in counts.most_common()) + " in a sample"
    form: Form = next(iter(counts), "line")
    return form, f"the sources are {names[form]}"


def layout_kind(form: Form, encoder: str) -> str:
    """Return the kind of layout by which an encoder reads sources of a form."""
    if encoder in GRAPH_ENCODERS:
        return "neighbours" if form == "line" else form
    if encoder == SENTENCE_ENCODER and form == "line":
        return "sentences"
    return "line" if form == "line" else "linearised"


def fit_edges(recipe: Recipe, text: TextPair, settings: Layer | None = None) -> Recipe:
    """Set the number of edge kinds of a graph encoder to that of the text side; UsageError if another was set."""
    if recipe.model.encoder.kind not in GRAPH_ENCODERS:
        return recipe
    kinds, wanted = text.layout.num_edge_kinds, flatten(settings or {}).get("model.encoder.edge_kinds")
    if wanted is not None and wanted != kinds:
        raise UsageError(
            f"model.encoder.edge_kinds is {wanted}, but the sources have {kinds} kinds of edges; leave it out, since it"
            " follows from text.layout"
        )
    layer: Layer = recipe.model_dump()
    layer["model"]["encoder"]["edge_kinds"] = kinds
    return validate(layer)
