"""The layout of a source for the encoder: a line of tokens, or tokens joined by edges of a few kinds.

In a Levi graph (Beck et al. 2018) the edges of a graph become nodes, so that there are few kinds and labels are text;
otherwise each frequent label is a kind. Every token of a node is a position. An edge joins the first tokens of two
nodes, and `NEXT` edges join the tokens of a node, so that an encoder can extend the edge to all tokens of both nodes.
"""

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from calque.config import Config
from calque.errors import DataError
from calque.ids import EOS, NUM_SPECIALS, PAD, UNK
from calque.text.copying import copy_table
from calque.text.extras import Edge
from calque.text.graph.graph import Graph, linearised, read_graph
from calque.text.source import SourceIds
from calque.text.tokenizers.symbols import Vocabulary
from calque.text.tokenizers.tokenizer import MAX_ENTRY_BYTES, Tokenizer, damaged

Normalise: TypeAlias = Callable[[str], str]

# Kinds of edges: 0 for none, to the next token of the same node, and to another node. Without Levi the frequent labels
# follow. The last kind of a sentence with dependencies is the edge from a word to the next.
NEXT, EDGE = 1, 2
LABELS_FILE = "labels.json"
# Between sentences: in scripts with full-width punctuation no space has to follow.
SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])\s*(?=\S)")


class LineLayoutConfig(Config):
    """Read a source as the line of text that it is."""

    kind: Literal["line"] = "line"
    """A line of text."""


class LinearisedLayoutConfig(Config):
    """Read a graph as a line of text, `subject | label | object ; …`, for encoders that know no edges."""

    kind: Literal["linearised"] = "linearised"
    """A graph as a line of text, for encoders that read no edges."""


class SentencesLayoutConfig(Config):
    """Read a text as sentences, each but the last closed by `</s>`, for encoders that read sentences."""

    kind: Literal["sentences"] = "sentences"
    """A text as sentences, each closed by </s>."""


class NeighboursLayoutConfig(Config):
    """Read a line of text as a graph whose edges join each token to the next."""

    kind: Literal["neighbours"] = "neighbours"
    """A line of text as a graph, with an edge from each token to the next."""


class NgramsLayoutConfig(Config):
    """Read a line of text as a graph whose edges join tokens of one n-gram, their kind being the distance."""

    kind: Literal["ngrams"] = "ngrams"
    """A line of text as a graph, with edges between tokens that are less than n apart."""
    n: int = Field(default=3, ge=2, le=64)
    """Length of the n-grams."""


class GraphOptions(Config):
    """Base of the configs of graphs with labels."""

    kind: str
    """The layout."""
    levi: bool = True
    """Whether each edge becomes a node with its label as text; if not, each frequent label is a kind of edge."""
    labels: int = Field(default=64, ge=1, le=1_000)
    """Without levi: maximum number of labels with their own kind of edge; the other labels share one."""


class GraphLayoutConfig(GraphOptions):
    """Read a graph: nodes and edges, or triples."""

    kind: Literal["graph"] = "graph"
    """A graph of nodes and edges, or of triples."""


class DependenciesLayoutConfig(GraphOptions):
    """Read a sentence with its dependencies: edges from heads to dependents, and from each word to the next."""

    kind: Literal["dependencies"] = "dependencies"
    """A sentence with dependencies: edges from heads to dependents, and from each word to the next."""


LayoutConfig = Annotated[
    LineLayoutConfig
    | LinearisedLayoutConfig
    | SentencesLayoutConfig
    | NeighboursLayoutConfig
    | NgramsLayoutConfig
    | GraphLayoutConfig
    | DependenciesLayoutConfig,
    Field(discriminator="kind"),
]

_LINE = LineLayoutConfig()


class SourceError(DataError):
    """A source that the model cannot read; `number` is its position among the sources, from 0."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.number = number


@dataclass(frozen=True)
class Sketch:
    """The texts of a source, and edges between them by number."""

    texts: tuple[str, ...]
    edges: tuple[Edge, ...] = ()


@dataclass(frozen=True)
class Layout:
    """The layout of sources; `labels` are the kinds of edges of a graph that is not in Levi form."""

    config: LayoutConfig = _LINE
    labels: Vocabulary | None = None

    @property
    def num_edge_kinds(self) -> int:
        """Return the number of kinds of edges; 0 for a line."""
        match self.config:
            case LineLayoutConfig() | LinearisedLayoutConfig() | SentencesLayoutConfig():
                return 0
            case NeighboursLayoutConfig():
                return NEXT
            case NgramsLayoutConfig(n=n):
                return n
        kinds = EDGE + len(self.labels.forms if self.labels else ())
        return kinds + isinstance(self.config, DependenciesLayoutConfig)

    @property
    def is_line(self) -> bool:
        """Return whether a source is a plain line of text."""
        return isinstance(self.config, LineLayoutConfig)

    def sketch(self, text: str, normalise: Normalise) -> Sketch:
        """Return the texts and edges of a source; DataError for a source that must be a graph and is not."""
        match self.config:
            case LinearisedLayoutConfig():
                return Sketch((normalise(linearised(read_graph(text))),))
            case SentencesLayoutConfig():
                return Sketch(tuple(SENTENCE_END.split(normalise(text).strip())))
            case GraphOptions():
                graph = read_graph(text)
                edges = [(start, end, normalise(label)) for start, end, label in graph.edges]
                return self._graph(Graph(tuple(map(normalise, graph.nodes)), tuple(edges), graph.is_sentence))
        return Sketch((normalise(text),))

    def read(
        self, texts: Sequence[str], source: Tokenizer, target: Tokenizer | None, normalise: Normalise
    ) -> list[SourceIds]:
        """Return each source for the model; with `target`, including the ids for copying.

        Raises SourceError for a source that must be a graph and is not.
        """
        sketches = [self._sketch(number, text, normalise) for number, text in enumerate(texts)]
        encoded = iter(source.encode_batch([part for sketch in sketches for part in sketch.texts]))
        found = []
        for sketch in sketches:
            # A text without tokens still has a position for its node.
            rows = [next(encoded) or [UNK] for _ in sketch.texts]
            copies, forms = _copied(sketch.texts, source, target) if target else (None, ())
            if isinstance(self.config, SentencesLayoutConfig):
                rows = [[*row, EOS] for row in rows[:-1]] + rows[-1:]
                copies = [[*row, PAD] for row in copies[:-1]] + copies[-1:] if copies else copies
            tokens = list(itertools.chain.from_iterable(rows))
            copy_ids = None if copies is None else list(itertools.chain.from_iterable(copies))
            edges = self._edges(sketch, [len(row) for row in rows]) if self.num_edge_kinds else None
            found.append(SourceIds(tokens, copy_ids, forms, edges))
        return found

    def files(self) -> dict[str, bytes]:
        """Return the file of labels, if there are any."""
        return {LABELS_FILE: self.labels.to_json()} if self.labels else {}

    def _sketch(self, number: int, text: str, normalise: Normalise) -> Sketch:
        try:
            return self.sketch(text, normalise)
        except DataError as error:
            raise SourceError(error.message, number) from None

    def _graph(self, graph: Graph) -> Sketch:
        assert isinstance(self.config, GraphOptions)
        ordered = isinstance(self.config, DependenciesLayoutConfig)
        if graph.is_sentence != ordered:
            have, want = ("dependencies", "graph") if ordered else ("graph", "dependencies")
            raise DataError(f"the source is in the form of {want}, but text.layout.kind is {have}; set it to {want}")
        size = len(graph.nodes)
        follows = [(number, number + 1, self.num_edge_kinds) for number in range(size - 1)] if ordered else []
        if not self.config.levi:
            return Sketch(graph.nodes, (*((*edge[:2], self._kind(edge[2])) for edge in graph.edges), *follows))
        halves = (
            half
            for label, (start, end, _) in enumerate(graph.edges, start=size)
            for half in ((start, label, EDGE), (label, end, EDGE))
        )
        return Sketch((*graph.nodes, *(label for _, _, label in graph.edges)), (*halves, *follows))

    def _kind(self, label: str) -> int:
        known = self.labels.id_of(label) if self.labels else None
        # Ids of a vocabulary begin after the special ones; all unknown labels share the kind EDGE.
        return EDGE if known is None else known - NUM_SPECIALS + EDGE + 1

    def _edges(self, sketch: Sketch, lengths: Sequence[int]) -> list[Edge]:
        """Return edges between positions; those inside the texts come first."""
        starts = list(itertools.accumulate(lengths, initial=0))
        if isinstance(self.config, NgramsLayoutConfig):
            total, apart = starts[-1], range(1, self.config.n)
            return [(start, start + far, NEXT + far) for start in range(total) for far in apart if start + far < total]
        inside = [
            (place, place + 1, NEXT)
            for start, length in zip(starts, lengths, strict=False)
            for place in range(start, start + length - 1)
        ]
        return [*inside, *((starts[start], starts[end], kind) for start, end, kind in sketch.edges)]


def learn_layout(config: LayoutConfig, texts: Iterable[str], normalise: Normalise) -> Layout:
    """Return the layout of a config; without Levi it has the most frequent labels of `texts`."""
    if not isinstance(config, GraphOptions) or config.levi:
        return Layout(config)
    counts = Counter(normalise(label) for text in texts for _, _, label in read_graph(text).edges)
    kept = [label for label in counts if len(label.encode()) <= MAX_ENTRY_BYTES]
    if not kept:
        raise DataError("no edge has a label to learn; set text.layout.levi = true")
    # Labels of equal counts are sorted, so that their numbers do not depend on the order of the data.
    return Layout(config, Vocabulary(sorted(kept, key=lambda label: (-counts[label], label))[: config.labels]))


def load_layout(config: LayoutConfig, folder: Path) -> Layout:
    """Return the layout in a text folder; UsageError naming a missing or damaged file."""
    if not isinstance(config, GraphOptions) or config.levi:
        return Layout(config)
    path = folder / LABELS_FILE
    labels = Vocabulary.load(path)
    if len(labels.forms) > config.labels:
        raise damaged(path, f"{len(labels.forms)} labels, more than the {config.labels} that text.json allows")
    return Layout(config, labels)


def _copied(texts: Sequence[str], source: Tokenizer, target: Tokenizer) -> tuple[list[list[int]], tuple[str, ...]]:
    """Return the copy tables of all texts, in which equal forms have one number."""
    forms: dict[str, int] = {}
    copies = []
    for text in texts:
        ids, own = copy_table(source, target, text)
        places = [target.vocab_size + forms.setdefault(form, len(forms)) for form in own]
        copies.append(
            [number if number < target.vocab_size else places[number - target.vocab_size] for number in ids or [PAD]]
        )
    return copies, tuple(forms)
