"""Sources and states of given sizes with random ids, for tracing and comparing the graphs of a model."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from calque.batch import Source
from calque.exchange.onnx.records import growing
from calque.ids import BOS, EOS, NUM_SPECIALS
from calque.model import Seq2Seq
from calque.nn.several import SeveralEncoder
from calque.rows import select


@dataclass(frozen=True)
class Sizes:
    """The sizes of a call: sentences, hypotheses of each, tokens of the longest source, forms that may be copied,
    edges of a graph, and previous steps.
    """

    batch: int
    beam: int
    length: int
    forms: int
    edges: int
    time: int


@dataclass(frozen=True)
class Call:
    """A source [B, ..], and the input of a step [R = B · K] after some others."""

    source: Source
    token: Tensor
    state: Any
    context: Any


def random_source(model: Seq2Seq, sizes: Sizes, generator: torch.Generator) -> Source:
    """Return sources of different lengths, with all fields that the model's parts read."""

    def draw(low: int, high: int, *shape: int) -> Tensor:
        return torch.randint(low, high, shape, generator=generator)

    batch, length, parts = sizes.batch, sizes.length, num_sources(model)
    # The first is the longest; all are long enough for several sources that are not empty.
    lengths = torch.cat([torch.tensor([length]), draw(min(2 * parts, length), length + 1, batch - 1)])
    places = torch.arange(length)
    mask = places < lengths[:, None]
    tokens = draw(NUM_SPECIALS, model.encoder.embedding.vocab_size, batch, length)
    tokens = torch.where(places == lengths[:, None] - 1, EOS, tokens) * mask
    extras: dict[str, Tensor] = {}
    if model.head.reads_attention:
        size = model.decoder.embedding.vocab_size
        counts = draw(0, sizes.forms + 1, batch, 1)
        extras["forms"] = torch.arange(sizes.forms) < counts
        # About half of the places cannot be copied.
        copied = draw(NUM_SPECIALS, size + max(1, sizes.forms), batch, length) * draw(0, 2, batch, length)
        extras["copy_ids"] = torch.where(copied < size + counts, copied, 0) * mask
    if parts > 1:
        extras["segment"] = (places * parts // lengths[:, None]) * mask
    if kinds := getattr(model.encoder, "edge_kinds", 0):
        edges = torch.stack([draw(0, length, batch, sizes.edges) % lengths[:, None] for _ in range(2)], dim=2)
        edges = torch.cat([edges, draw(0, kinds + 1, batch, sizes.edges, 1)], dim=2)
        # Some nodes of several tokens.
        edges[:, ::3, 1] = edges[:, ::3, 0] + 1
        edges[:, ::3, 2] = 1
        inside = (edges[:, :, :2] < lengths[:, None, None]).all(dim=2, keepdim=True)
        extras["edges"] = edges * (inside & (edges[:, :, 2:] > 0))
    return Source(tokens, mask, **extras)


def num_sources(model: Seq2Seq) -> int:
    """Return the number of sources that the model reads."""
    return len(model.encoder.encoders) if isinstance(model.encoder, SeveralEncoder) else 1


@torch.no_grad()
def random_call(model: Seq2Seq, sizes: Sizes, generator: torch.Generator) -> Call:
    """Return a source, and the input of a step after others with random tokens."""
    source = random_source(model, sizes, generator)
    context, state = model.start(source)
    state = select(state, torch.arange(sizes.batch).repeat_interleave(sizes.beam))
    token = torch.full([sizes.batch * sizes.beam], BOS)
    for _ in range(sizes.time):
        _, state = model.step(token, state, context)
        token = torch.randint(NUM_SPECIALS, model.decoder.embedding.vocab_size, token.shape, generator=generator)
    return Call(source, token, growing(state), context)
