"""Names of weights in Hugging Face's encoder-decoders and in calque: one list for both directions.

It leaves out the tables of embeddings, whose rows are in the order of ids. T5 has its own layout, all others BART's.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from calque.model import ModelConfig
from calque.nn.transformer.encoder_decoder import TransformerDecoderConfig, TransformerEncoderConfig


@dataclass(frozen=True)
class WeightMap:
    """The tensor `ours` is `scale` × the tensors `theirs`, one below the other, without the first `skip` rows."""

    ours: str
    theirs: tuple[str, ...]
    scale: float = 1.0
    skip: int = 0


@dataclass(frozen=True)
class WeightNames:
    """The names of a class: of the layers of a side, of the parts of each, and of the `kinds` of a dense layer.

    `positions` is the name of the learned table of a side; its first `skip` rows are before position 0.
    """

    layers: str
    parts: Mapping[str, Mapping[str, str]]
    attention: Mapping[str, tuple[str, ...]]
    kinds: tuple[str, ...]
    norm: str
    embedding_norm: str = ""
    positions: str = ""
    skip: int = 0


_FEED_FORWARD = {"feed_forward_norm": "final_layer_norm", "feed_forward.inner": "fc1", "feed_forward.outer": "fc2"}
BART = WeightNames(
    layers="layers",
    parts={
        "encoder": {"attention": "self_attn", "attention_norm": "self_attn_layer_norm", **_FEED_FORWARD},
        "decoder": {
            "self_attention": "self_attn",
            "self_norm": "self_attn_layer_norm",
            "memory_attention": "encoder_attn",
            "memory_norm": "encoder_attn_layer_norm",
            **_FEED_FORWARD,
        },
    },
    attention={"query": ("q_proj",), "key_value": ("k_proj", "v_proj"), "output": ("out_proj",)},
    kinds=("weight", "bias"),
    norm="layer_norm",
    embedding_norm="layernorm_embedding",
    positions="embed_positions",
    skip=2,
)


def _t5_feed_forward(place: str, gated: bool) -> dict[str, str]:
    dense = f"{place}.DenseReluDense"
    inner = {"feed_forward.inner": f"{dense}.wi"}
    if gated:
        inner = {"feed_forward.inner": f"{dense}.wi_0", "feed_forward.gate": f"{dense}.wi_1"}
    return {"feed_forward_norm": f"{place}.layer_norm", **inner, "feed_forward.outer": f"{dense}.wo"}


def t5_names(gated: bool) -> WeightNames:
    """Return T5's names, those of version 1.1 if the feed-forward network is gated."""
    return WeightNames(
        layers="block",
        parts={
            "encoder": {
                "attention": "layer.0.SelfAttention",
                "attention_norm": "layer.0.layer_norm",
                **_t5_feed_forward("layer.1", gated),
            },
            "decoder": {
                "self_attention": "layer.0.SelfAttention",
                "self_norm": "layer.0.layer_norm",
                "memory_attention": "layer.1.EncDecAttention",
                "memory_norm": "layer.1.layer_norm",
                **_t5_feed_forward("layer.2", gated),
            },
        },
        attention={"query": ("q",), "key_value": ("k", "v"), "output": ("o",)},
        kinds=("weight",),
        norm="final_layer_norm",
        # Each side has one table, in its first layer.
        positions="block.0.layer.0.SelfAttention.relative_attention_bias",
    )


def weight_maps(model: ModelConfig) -> Iterator[WeightMap]:
    """Yield every tensor of a model that a class can express, except the tables of embeddings and the head."""
    for side, config in (("encoder", model.encoder), ("decoder", model.decoder)):
        assert isinstance(config, TransformerEncoderConfig | TransformerDecoderConfig), config.kind
        t5 = config.positions.kind == "relative"
        layout = t5_names("glu" in config.activation) if t5 else BART
        # T5 does not divide scores by √d, so our queries are √d times as large.
        scale = (config.head_width or config.width // config.heads) ** 0.5 if t5 else 1.0
        for index in range(config.layers):
            yield from _layer_maps(side, index, layout, scale)
        if config.norm_position == "pre":
            yield from _norm_maps(f"{side}.norm", f"{side}.{layout.norm}", layout)
        if config.norm_embeddings:
            yield from _norm_maps(f"{side}.embedding_norm", f"{side}.{layout.embedding_norm}", layout)
        if config.positions.kind != "sinusoidal":
            yield WeightMap(f"{side}.positions.weight", (f"{side}.{layout.positions}.weight",), skip=layout.skip)


def _layer_maps(side: str, index: int, layout: WeightNames, scale: float) -> Iterator[WeightMap]:
    for part, their_part in layout.parts[side].items():
        ours, theirs = f"{side}.layers.{index}.{part}", f"{side}.{layout.layers}.{index}.{their_part}"
        if not part.endswith("attention"):
            yield from _norm_maps(ours, theirs, layout)
            continue
        for dense, names in layout.attention.items():
            for kind in layout.kinds:
                packed = tuple(f"{theirs}.{name}.{kind}" for name in names)
                yield WeightMap(f"{ours}.{dense}.{kind}", packed, scale if dense == "query" else 1.0)


def _norm_maps(ours: str, theirs: str, layout: WeightNames) -> Iterator[WeightMap]:
    for kind in layout.kinds:
        yield WeightMap(f"{ours}.{kind}", (f"{theirs}.{kind}",))
