"""What a Transformer decoder can mix its own positions with: a new kind joins by one line here."""

from typing import Annotated, Literal

from pydantic import Field

from calque.config import Config
from calque.nn.attention.multihead import SelfAttention
from calque.nn.transformer.average_attention import AverageAttentionConfig
from calque.nn.transformer.config import TransformerConfig
from calque.nn.transformer.mixer import Mixer
from calque.nn.transformer.ssru import SsruConfig


class SelfAttentionConfig(Config):
    """Attend to all positions so far."""

    kind: Literal["attention"] = "attention"
    """What mixes the target's own positions."""

    def build(self, config: TransformerConfig) -> Mixer:
        """Build the attention for a layer of this config."""
        return SelfAttention(config.width, config.attention_heads, config.width, config.attention_dropout)


MixerConfig = Annotated[SelfAttentionConfig | SsruConfig | AverageAttentionConfig, Field(discriminator="kind")]
