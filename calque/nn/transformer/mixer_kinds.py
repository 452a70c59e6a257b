"""The mixers that a Transformer decoder can have; a new one is added to the union here."""

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
    """Self-attention to all positions so far."""

    def build(self, config: TransformerConfig) -> Mixer:
        """Build the mixer of a layer."""
        return SelfAttention(config.width, config.attention_heads, config.width, config.attention_dropout)


MixerConfig = Annotated[SelfAttentionConfig | SsruConfig | AverageAttentionConfig, Field(discriminator="kind")]
