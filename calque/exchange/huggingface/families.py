"""The Hugging Face classes that calque can express: their fixed settings, and their names of activations."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from calque.errors import UsageError, did_you_mean

# Their names of activations, and calque's; activations that differ only by rounding have one name.
ACTIVATIONS = {
    "relu": "relu",
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_accurate": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_python_tanh": "gelu_tanh",
    "silu": "silu",
    "swish": "silu",
}
GATED = {"gelu": "geglu", "gelu_tanh": "geglu_tanh", "silu": "swiglu"}
PLAIN_NAMES = {"relu": "relu", "gelu": "gelu", "gelu_tanh": "gelu_new", "silu": "silu"}
# In T5 "gated-gelu" is the approximation; the exact function has another name.
GATED_NAMES = {"geglu": "gated-gelu_python", "geglu_tanh": "gated-gelu", "swiglu": "gated-silu"}


@dataclass(frozen=True)
class Family:
    """Return the fixed settings of a class; `defaults` are those that differ from BART's."""

    model_type: str
    architecture: str
    norm_position: Literal["pre", "post"]
    positions: Literal["sinusoidal", "closed", "learned", "relative"]
    norm_embeddings: bool = False
    has_bias: bool = True
    """Return whether the head has `final_logits_bias`."""
    defaults: Mapping[str, Any] = field(default_factory=dict)

    @property
    def written_flags(self) -> dict[str, Any]:
        """Return options of older configs that nothing reads any more; another value means another model."""
        flags: dict[str, Any] = {
            "normalize_before": self.norm_position == "pre",
            "add_final_layer_norm": self.norm_position == "pre",
            "normalize_embedding": self.norm_embeddings,
            "static_position_embeddings": self.positions != "learned",
        }
        return flags | ({"extra_pos_embeddings": 2} if self.positions == "learned" else {})


M2M_DEFAULTS = {
    "activation_function": "relu",
    "scale_embedding": True,
    "attention_dropout": 0.1,
    "encoder_layerdrop": 0.05,
    "decoder_layerdrop": 0.05,
    "pad_token_id": 1,
    "decoder_start_token_id": 2,
}
FAMILIES = {
    family.model_type: family
    for family in (
        Family("marian", "MarianMTModel", "post", "sinusoidal"),
        Family("pegasus", "PegasusForConditionalGeneration", "pre", "sinusoidal"),
        Family("bart", "BartForConditionalGeneration", "post", "learned", norm_embeddings=True),
        Family("mbart", "MBartForConditionalGeneration", "pre", "learned", norm_embeddings=True),
        Family("m2m_100", "M2M100ForConditionalGeneration", "pre", "closed", has_bias=False, defaults=M2M_DEFAULTS),
        Family("t5", "T5ForConditionalGeneration", "pre", "relative", has_bias=False),
    )
}


def family_of(config: Mapping[str, Any]) -> Family:
    """Return the class of a config; UsageError for another kind of model."""
    name = config.get("model_type")
    if not isinstance(name, str) or name not in FAMILIES:
        near = did_you_mean(name, FAMILIES) if isinstance(name, str) else ""
        raise UsageError(f"config.json: model_type is {name!r}; calque reads {', '.join(FAMILIES)}.{near}")
    return FAMILIES[name]


def has_one_table(config: Mapping[str, Any]) -> bool:
    """Return whether source and target share a table, which is always so except in Marian."""
    return config["model_type"] != "marian" or config.get("share_encoder_decoder_embeddings") is not False


def scales_output(config: Mapping[str, Any]) -> bool:
    """Return whether T5's decoder output is divided by √width before the head: so in version 1.0, not in 1.1."""
    scales = config.get("scale_decoder_outputs")
    return config.get("tie_word_embeddings") is not False if scales is None else bool(scales)
