"""What a Transformer decoder can mix its own positions with: a new kind joins by one line here."""

from typing import Annotated, Literal

from pydantic import Field

from calque.config import Config
from calque.nn.average_attention import AverageAttentionConfig
from calque.nn.mixers import Mixer
from calque.nn.multihead import SelfAttention
from calque.nn.ssru import SsruConfig
from calque.nn.transformer_config import TransformerConfig


class SelfAttentionConfig(Config):
    """Attend to all positions so far."""

    kind: Literal["attention"] = "attention"
    """What mixes the target's own positions."""

    def build(self, config: TransformerConfig) -> Mixer:
        """Build the attention for a layer of this config."""
        return SelfAttention(config.width, config.attention_heads, config.width, config.attention_dropout)


MixerConfig = Annotated[SelfAttentionConfig | SsruConfig | AverageAttentionConfig, Field(discriminator="kind")]
