"""Convert Hugging Face's config.json to calque's model section, and back if one of their classes fits.

Every option that a class reads is converted or refused by name; other options (generation, labels) are ignored.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from calque.errors import UsageError
from calque.exchange.huggingface.families import FAMILIES, GATED_NAMES, PLAIN_NAMES, Family, family_of, has_one_table
from calque.exchange.huggingface.options import ModelOptions
from calque.exchange.huggingface.sides import bart_sides, t5_sides
from calque.ids import BOS, EOS, PAD
from calque.model import ModelConfig
from calque.nn.transformer.config import TransformerConfig
from calque.nn.transformer.encoder_decoder import TransformerDecoderConfig, TransformerEncoderConfig
from calque.nn.transformer.positions import LearnedConfig, RelativeConfig, SinusoidalConfig

Section = dict[str, Any]


def model_config(config: Mapping[str, Any]) -> ModelConfig:
    """Return the model section of a parsed config.json; UsageError names the option that calque does not have.

    `tie_embeddings` is the value in the config; `weights.fit_tables` changes it to one that the weights and ids allow.
    """
    family = family_of(config)
    options = ModelOptions(config, family.defaults)
    _refuse_other_models(options, family)
    read = t5_sides if family.model_type == "t5" else bart_sides
    encoder, decoder = read(options, family)
    tie = "all" if options.flag("tie_word_embeddings", True) else "none"
    options.flag("share_encoder_decoder_embeddings", True)
    if tie == "all" and not has_one_table(config):
        tie = "target"
    head = {"kind": "softmax", "learned_bias": False}
    sections = {"encoder": encoder, "decoder": decoder, "head": head, "tie_embeddings": tie}
    return ModelConfig.model_validate(sections)


def _refuse_other_models(options: ModelOptions, family: Family) -> None:
    """Raise UsageError for options of a model that is not an ordinary encoder-decoder of its class."""
    options.must_be("is_encoder_decoder", True, "calque reads only encoder-decoders")
    options.must_be("tie_encoder_decoder", False, "calque cannot share layers between encoder and decoder")
    for name in ("pruned_heads", "quantization_config", "per_layer_config"):
        options.must_be_empty(name)
    for name in options.texts("architectures"):
        if any(part in name for part in ("CausalLM", "Classification", "QuestionAnswering", "EncoderModel")):
            raise UsageError(f"config.json: architectures has {name}; calque reads {family.architecture}")
    if family.model_type != "t5":
        for name, value in family.written_flags.items():
            options.must_be(name, value, f"{family.architecture} has another value")


@dataclass(frozen=True)
class SpecialIds:
    """Hugging Face's ids of padding, of the start and of the end of a target; the defaults are calque's."""

    pad: int = PAD
    start: int = BOS
    end: int = EOS


def huggingface_config(
    model: ModelConfig,
    source_vocab_size: int,
    target_vocab_size: int,
    specials: SpecialIds = SpecialIds(),
    max_positions: int = 1024,
) -> Section:
    """Return the config.json of the class that computes the same; UsageError names a field that no class has.

    The sizes are those of Hugging Face's tables; `max_positions` rows of sinusoids are written. Options that only
    training reads (dropouts, coverage_loss) are written if the class has them.
    """
    encoder, decoder = _transformers(model)
    family = _fitting(encoder)
    _check(encoder, decoder, family)
    if family.model_type == "t5":
        section = _t5_section(model, encoder, decoder)
    else:
        section = _bart_section(encoder, decoder, max_positions) | {
            "tie_word_embeddings": model.tie_embeddings != "none"
        }
    section |= {"vocab_size": source_vocab_size}
    if family.model_type == "marian":
        shared = {"share_encoder_decoder_embeddings": model.tie_embeddings == "all"}
        section |= {"decoder_vocab_size": target_vocab_size, **shared}
    if source_vocab_size != target_vocab_size and has_one_table({"model_type": family.model_type, **section}):
        raise UsageError(
            f"model.tie_embeddings: {family.architecture} has one table for source and target, but they have"
            f" {source_vocab_size} and {target_vocab_size} tokens; both sides must use ids of one table"
        )
    if family.positions == "closed":
        _require_places(encoder, family, specials)
    return {
        "architectures": [family.architecture],
        "model_type": family.model_type,
        "is_encoder_decoder": True,
        "pad_token_id": specials.pad,
        "bos_token_id": specials.start,
        "decoder_start_token_id": specials.start,
        "eos_token_id": specials.end,
        "forced_eos_token_id": specials.end,
        **section,
    }


def _transformers(model: ModelConfig) -> tuple[TransformerEncoderConfig, TransformerDecoderConfig]:
    encoder, decoder = model.encoder, model.decoder
    if not isinstance(encoder, TransformerEncoderConfig):
        raise _no_class("encoder.kind", encoder.kind, "transformer")
    if not isinstance(decoder, TransformerDecoderConfig):
        raise _no_class("decoder.kind", decoder.kind, "transformer")
    if decoder.mixer.kind != "attention":
        raise _no_class("decoder.mixer.kind", decoder.mixer.kind, "attention")
    if model.head.kind != "softmax":
        raise _no_class("head.kind", model.head.kind, "softmax")
    return encoder, decoder


def _fitting(config: TransformerConfig) -> Family:
    """Return the class with these positions and this place of the norms."""
    positions = config.positions
    if isinstance(positions, RelativeConfig):
        return FAMILIES["t5"]
    if isinstance(positions, LearnedConfig):
        return FAMILIES["bart" if config.norm_position == "post" else "mbart"]
    if isinstance(positions, SinusoidalConfig):
        if positions.closed:
            return FAMILIES["m2m_100"]
        return FAMILIES["pegasus" if config.norm_position == "pre" else "marian"]
    raise _no_class("encoder.positions.kind", positions.kind, "sinusoidal, learned or relative")


def _check(encoder: TransformerConfig, decoder: TransformerConfig, family: Family) -> None:
    """Raise UsageError for settings that the class cannot have, or has only once for both sides."""
    t5 = family.model_type == "t5"
    one = ["width", "positions", "norm", "norm_position", "norm_epsilon", "norm_embeddings", "scale_embeddings", "bias"]
    for name in [*one, "activation", *(["heads", "head_width", "feed_forward"] if t5 else [])]:
        ours, theirs = getattr(decoder, name), getattr(encoder, name)
        if ours != theirs:
            raise _no_class(f"decoder.{name}", ours, f"as model.encoder.{name}, {theirs!r}", family)
    always: Section = {
        "norm_position": family.norm_position,
        "norm_embeddings": family.norm_embeddings,
        "norm": "rms" if t5 else "layer",
        "bias": not t5,
    }
    if not t5:
        always["norm_epsilon"] = 1e-5
    if family.positions == "sinusoidal":
        always["positions"] = SinusoidalConfig()
    for name, wanted in always.items():
        if (found := getattr(encoder, name)) != wanted:
            raise _no_class(f"encoder.{name}", found, repr(wanted), family)
    known = {**PLAIN_NAMES, **(GATED_NAMES if t5 else {})}
    if encoder.activation not in known:
        raise _no_class("encoder.activation", encoder.activation, ", ".join(known), family)
    for side, config in (("encoder", encoder), ("decoder", decoder)):
        if config.key_value_heads not in (0, config.heads):
            raise _no_class(f"{side}.key_value_heads", config.key_value_heads, "0", family)
        if not t5 and config.head_width * config.heads not in (0, config.width):
            raise _no_class(f"{side}.head_width", config.head_width, "0", family)


def _require_places(config: TransformerConfig, family: Family, specials: SpecialIds) -> None:
    positions = config.positions
    assert isinstance(positions, SinusoidalConfig), positions.kind
    if positions.first != specials.pad + 1 or specials.start == specials.pad:
        raise UsageError(
            f"model.encoder.positions.first is {positions.first}: {family.architecture} counts positions from"
            f" pad_token_id + 1, which is {specials.pad + 1}, and gives pad_token_id no position; here the start"
            f" token is {specials.start}"
        )


def _bart_section(encoder: TransformerConfig, decoder: TransformerConfig, max_positions: int) -> Section:
    positions = encoder.positions
    section = {
        "d_model": encoder.width,
        "activation_function": PLAIN_NAMES[encoder.activation],
        "max_position_embeddings": positions.limit if isinstance(positions, LearnedConfig) else max_positions,
        "scale_embedding": encoder.scale_embeddings,
        "dropout": encoder.dropout,
        "attention_dropout": encoder.attention_dropout,
        "activation_dropout": encoder.activation_dropout,
        "num_hidden_layers": encoder.layers,
    }
    for side, config in (("encoder", encoder), ("decoder", decoder)):
        section |= {
            f"{side}_layers": config.layers,
            f"{side}_attention_heads": config.heads,
            f"{side}_ffn_dim": config.feed_forward,
            f"{side}_layerdrop": config.layer_drop,
        }
    return section


def _t5_section(model: ModelConfig, encoder: TransformerConfig, decoder: TransformerConfig) -> Section:
    positions = encoder.positions
    assert isinstance(positions, RelativeConfig), positions.kind
    return {
        "d_model": encoder.width,
        "d_kv": encoder.head_width or encoder.width // encoder.heads,
        "d_ff": encoder.feed_forward,
        "num_layers": encoder.layers,
        "num_decoder_layers": decoder.layers,
        "num_heads": encoder.heads,
        "relative_attention_num_buckets": positions.buckets,
        "relative_attention_max_distance": positions.distance,
        "feed_forward_proj": (PLAIN_NAMES | GATED_NAMES)[encoder.activation],
        "layer_norm_epsilon": encoder.norm_epsilon,
        "dropout_rate": encoder.dropout,
        # In T5 this decides whether the output is divided by √width before the head.
        "tie_word_embeddings": model.tie_embeddings != "none" and encoder.scale_embeddings,
    }


def _no_class(name: str, found: object, wanted: str, family: Family | None = None) -> UsageError:
    who = f"{family.architecture}, the nearest class of Hugging Face," if family else "Hugging Face's classes"
    return UsageError(f"model.{name} is {found!r}: {who} can only have {wanted}")
