"""The attentions that a recurrent decoder can have: a new one joins by one line here."""

from typing import Annotated, Literal

from pydantic import Field

from calque.config import Config
from calque.nn.attention_additive import AdditiveAttentionConfig
from calque.nn.attention_dot import DotAttentionConfig, GeneralAttentionConfig


class NoAttentionConfig(Config):
    """Attend to nothing: the decoder sees the source through its first state alone."""

    kind: Literal["none"] = "none"
    """The attention."""

    def build(self, query_width: int, memory_width: int) -> None:
        """Build nothing."""
        return


AttentionConfig = Annotated[
    NoAttentionConfig | DotAttentionConfig | GeneralAttentionConfig | AdditiveAttentionConfig,
    Field(discriminator="kind"),
]
