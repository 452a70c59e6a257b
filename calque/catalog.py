"""Named architectures: functions from a size to the `model` section of a recipe."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from calque.errors import UsageError, did_you_mean

Section: TypeAlias = dict[str, Any]
"""A section of a recipe before validation; Any, because pydantic checks its values."""


@dataclass(frozen=True)
class Size:
    """The size of a model.

    `recurrent`: width and layers; `transformer`: width, layers, heads and feed-forward units; `basic`: width of the
    textbook network.
    """

    recurrent: tuple[int, int]
    transformer: tuple[int, int, int, int]
    basic: int


SIZES = {
    # The tiny Transformer is that of Wu et al. 2021, the best published model for 29,000 pairs of captions.
    "tiny": Size(recurrent=(384, 1), transformer=(128, 4, 4, 256), basic=128),
    "small": Size(recurrent=(512, 2), transformer=(256, 4, 4, 1024), basic=256),
    "base": Size(recurrent=(1024, 2), transformer=(512, 6, 8, 2048), basic=512),
}


def basic_lstm(size: Size) -> Section:
    """Return the textbook network: one LSTM layer on each side, the final state as bridge and no attention."""
    part = {"kind": "lstm", "layers": 1, "width": size.basic}
    encoder = {**part, "bidirectional": False}
    return {
        "encoder": encoder,
        "decoder": {**part, "attention": {"kind": "none"}, "bridge": "final"},
        "tie_embeddings": "none",
    }


def recurrent(kind: str) -> Callable[[Size], Section]:
    """Return a bidirectional encoder and a decoder with Luong's general attention, both with cells of `kind`."""

    def section(size: Size) -> Section:
        width, layers = size.recurrent
        part = {"kind": kind, "layers": layers, "width": width}
        return {"encoder": part, "decoder": {**part, "attention": {"kind": "general"}}}

    return section


def transformer(size: Size) -> Section:
    """Return a pre-norm Transformer with as many layers in the encoder as in the decoder."""
    width, layers, heads, feed_forward = size.transformer
    part = {"kind": "transformer", "layers": layers, "width": width, "heads": heads, "feed_forward": feed_forward}
    return {"encoder": part, "decoder": part}


def fast(size: Size) -> Section:
    """Return a deep Transformer encoder with a decoder of two SSRU layers (Kim et al. 2019).

    The encoder has rotary positions (Su et al. 2021), which need fewer updates than sinusoids.
    """
    section = transformer(size)
    layers = section["encoder"]["layers"]
    encoder = {**section["encoder"], "layers": 2 * layers - 2, "positions": {"kind": "rotary"}}
    return {"encoder": encoder, "decoder": {**section["decoder"], "layers": 2, "mixer": {"kind": "ssru"}}}


def hybrid(size: Size) -> Section:
    """Return a Transformer encoder with a recurrent decoder, whose steps are fast (Chen et al. 2018)."""
    encoder = transformer(size)["encoder"]
    layers = size.recurrent[1]
    decoder = {"kind": "lstm", "layers": layers, "width": encoder["width"], "attention": {"kind": "general"}}
    return {"encoder": encoder, "decoder": decoder}


def pointer(size: Size) -> Section:
    """Return the pointer-generator of See et al. 2017: an LSTM with copying and coverage."""
    section = recurrent("lstm")(size)
    attention = {"kind": "additive", "coverage": True, "coverage_loss": 1.0}
    return {**section, "decoder": {**section["decoder"], "attention": attention}, "head": {"kind": "pointer"}}


def graph(size: Size) -> Section:
    """Return a Transformer whose encoder reads the edges and paths of a graph."""
    section = transformer(size)
    return {**section, "encoder": {**section["encoder"], "kind": "graph_transformer"}}


def memory(size: Size) -> Section:
    """Return a memory network (Sukhbaatar et al. 2015) with a recurrent decoder, for questions about sentences."""
    encoder = {"kind": "memory", "hops": 3, "width": size.basic}
    return {"encoder": encoder, "decoder": {"kind": "gru", "layers": 1, "width": size.basic, "bridge": "dense"}}


ARCHITECTURES: dict[str, Callable[[Size], Section]] = {
    "basic-lstm": basic_lstm,
    "rnn": recurrent("rnn"),
    "lstm": recurrent("lstm"),
    "gru": recurrent("gru"),
    "transformer": transformer,
    "fast": fast,
    "hybrid": hybrid,
    "pointer": pointer,
    "graph": graph,
    "memory": memory,
}


def architecture(name: str, size: str) -> Section:
    """Return the `model` section of a named architecture."""
    for what, given, known in (("model", name, ARCHITECTURES), ("size", size, SIZES)):
        if given not in known:
            raise UsageError(f"no {what} {given!r}; there are {', '.join(known)}.{did_you_mean(given, known)}")
    return ARCHITECTURES[name](SIZES[size])
