"""Convert encoder and decoder of a Hugging Face config.json to sections of calque's recipe."""

from typing import Any

from calque.errors import UsageError, did_you_mean
from calque.exchange.huggingface.families import ACTIVATIONS, GATED, Family, scales_output
from calque.exchange.huggingface.options import MOST_LAYERS, ModelOptions

Section = dict[str, Any]


def bart_sides(options: ModelOptions, family: Family) -> tuple[Section, Section]:
    """Return both sides of Marian, Pegasus, BART, mBART or M2M-100."""
    width = options.whole("d_model", 1024, alias="hidden_size")
    shared = {
        "kind": "transformer",
        "width": width,
        "activation": _activation(options.text("activation_function", "gelu"), "activation_function", gated=False),
        "positions": _bart_positions(options, family),
        "norm_position": family.norm_position,
        "norm_embeddings": family.norm_embeddings,
        "scale_embeddings": options.flag("scale_embedding", False),
        "dropout": options.share("dropout", 0.1),
        "attention_dropout": options.share("attention_dropout", 0.0),
        "activation_dropout": options.share("activation_dropout", 0.0),
    }

    def side(name: str) -> Section:
        first = name == "encoder"
        heads = options.whole(f"{name}_attention_heads", 16, alias="num_attention_heads" if first else None)
        if width % heads:
            raise UsageError(f"config.json: d_model ({width}) must be a multiple of {name}_attention_heads ({heads})")
        return shared | {
            "layers": options.whole(
                f"{name}_layers", 12, most=MOST_LAYERS, alias="num_hidden_layers" if first else None
            ),
            "heads": heads,
            "feed_forward": options.whole(f"{name}_ffn_dim", 4096),
            "layer_drop": options.share(f"{name}_layerdrop", 0.0),
        }

    return side("encoder"), side("decoder")


def _bart_positions(options: ModelOptions, family: Family) -> Section:
    if family.positions == "learned":
        return {"kind": "learned", "limit": options.whole("max_position_embeddings", 1024)}
    if family.positions == "sinusoidal":
        return {"kind": "sinusoidal"}
    pad = options.whole("pad_token_id", 1, least=0)
    if options.whole("decoder_start_token_id", 2, least=0) == pad:
        raise UsageError(
            f"config.json: decoder_start_token_id and pad_token_id are both {pad}: {family.architecture} gives padding"
            " no position, but calque gives one to the first token of every target"
        )
    return {"kind": "sinusoidal", "closed": True, "first": pad + 1}


def t5_sides(options: ModelOptions, family: Family) -> tuple[Section, Section]:
    """Return both sides of T5; its dropout also applies to the decoder's output, where calque has none."""
    width = options.whole("d_model", 512, alias="hidden_size")
    heads = options.whole("num_heads", 8, alias="num_attention_heads")
    head_width, dropout = options.whole("d_kv", 64, alias="head_dim"), options.share("dropout_rate", 0.1)
    layers = options.whole("num_layers", 6, most=MOST_LAYERS, alias="num_hidden_layers")
    wanted = options.text("feed_forward_proj", "relu")
    *gate, function = wanted.split("-")
    if gate not in ([], ["gated"]):
        raise UsageError(f"config.json: feed_forward_proj must be a function or gated-FUNCTION, but is {wanted!r}")
    function = options.text("dense_act_fn", "gelu_new" if wanted == "gated-gelu" else function)
    positions: Section = {
        "kind": "relative",
        "buckets": options.whole("relative_attention_num_buckets", 32, least=4),
        "distance": options.whole("relative_attention_max_distance", 128),
    }
    if positions["distance"] <= positions["buckets"] // 2:
        raise UsageError(
            f"config.json: relative_attention_max_distance ({positions['distance']}) must be more than half of"
            f" relative_attention_num_buckets ({positions['buckets']})"
        )
    encoder: Section = {
        "kind": "transformer",
        "layers": layers,
        "width": width,
        "heads": heads,
        "head_width": 0 if head_width * heads == width else head_width,
        "feed_forward": options.whole("d_ff", 2048),
        "activation": _activation(function, "feed_forward_proj", options.flag("is_gated_act", bool(gate))),
        "positions": positions,
        "norm": "rms",
        "norm_position": family.norm_position,
        "norm_epsilon": options.positive("layer_norm_epsilon", 1e-6),
        "scale_embeddings": scales_output(options.config),
        "bias": False,
        "dropout": dropout,
        "attention_dropout": dropout,
        "activation_dropout": dropout,
    }
    return encoder, encoder | {"layers": options.whole("num_decoder_layers", layers, most=MOST_LAYERS)}


def _activation(name: str, option: str, gated: bool) -> str:
    known = {theirs: ours for theirs, ours in ACTIVATIONS.items() if not gated or ours in GATED}
    if name not in known:
        raise UsageError(
            f"config.json: {option} asks for {'gated ' * gated}{name!r}; calque has"
            f" {', '.join(known)}.{did_you_mean(name, known)}"
        )
    return GATED[known[name]] if gated else known[name]
