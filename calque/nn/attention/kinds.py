"""The attentions that a recurrent decoder can have; a new one is added to the union here."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from calque.config import Config
from calque.nn.attention.additive import AdditiveAttentionConfig
from calque.nn.attention.attention import AttentionOptions
from calque.nn.attention.dot import DotAttentionConfig, GeneralAttentionConfig, ScaledDotAttentionConfig
from calque.nn.attention.hierarchical import HierarchicalAttentionConfig
from calque.nn.attention.local import LocalAttentionConfig
from calque.nn.attention.location import LocationAttentionConfig
from calque.nn.attention.multihead_memory import MultiHeadAttentionConfig


class NoAttentionConfig(Config):
    """Use no attention: the decoder sees the source only by its first state."""

    kind: Literal["none"] = "none"
    """No attention: the decoder sees the source only by its first state."""

    @model_validator(mode="before")
    @classmethod
    def _refuse_options(cls, values: object) -> object:
        """Raise an error that names the kind, in place of the one for an unknown key."""
        given = [name for name in AttentionOptions.model_fields if isinstance(values, dict) and name in values]
        if given:
            raise ValueError(
                f"{' and '.join(given)} cannot be set without attention (the kind is none); remove"
                f" model.decoder.attention.{given[0]}, or set another kind, such as additive"
            )
        return values

    def build(self, query_width: int, memory_width: int) -> None:
        """Build nothing."""
        return


AttentionConfig = Annotated[
    NoAttentionConfig
    | DotAttentionConfig
    | ScaledDotAttentionConfig
    | GeneralAttentionConfig
    | AdditiveAttentionConfig
    | MultiHeadAttentionConfig
    | LocalAttentionConfig
    | LocationAttentionConfig
    | HierarchicalAttentionConfig,
    Field(discriminator="kind"),
]
