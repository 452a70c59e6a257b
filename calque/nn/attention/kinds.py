"""The attentions that a recurrent decoder can have: a new one joins by one line here, beside its import."""

from typing import Annotated, Any, Literal

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
    """Attend to nothing: the decoder sees the source through its first state alone."""

    kind: Literal["none"] = "none"
    """The attention."""

    @model_validator(mode="before")
    @classmethod
    def _refuse_options(cls, values: Any) -> Any:
        """Return what coverage and the like would need, rather than that there is no such key."""
        given = [name for name in AttentionOptions.model_fields if isinstance(values, dict) and name in values]
        if given:
            raise ValueError(
                f"{' and '.join(given)} cannot be had without attention, and kind is none; leave out"
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
