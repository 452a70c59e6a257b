"""The fields that the Transformer's encoder and decoder share; the defaults are the pre-norm Transformer of today.

What T5 multiplies elsewhere lies in the weights here: its attention is ours with queries √d times as large, its tied
table ours 1/√D as large, looked up with the scale.
"""

from typing import Literal

from pydantic import Field
from torch import nn

from calque.config import Config, DropoutRate, Layers, NumHeads, Units, Width, WidthOrAuto
from calque.errors import UsageError
from calque.nn.attention.multihead import Heads
from calque.nn.norms import Norm, NormPosition, build_norm
from calque.nn.transformer.feed_forward import Activation, FeedForward, build_feed_forward
from calque.nn.transformer.positions import PartShape, Positions, PositionsConfig, SinusoidalConfig


class TransformerConfig(Config):
    """Share the fields of both sides."""

    kind: Literal["transformer"] = "transformer"
    """The kind of part."""
    layers: Layers = 4
    """Number of layers."""
    width: Width = 256
    """Width of embeddings, layers and memory."""
    heads: NumHeads = 4
    """Number of attention heads."""
    key_value_heads: int = Field(default=0, ge=0, le=1_024)
    """Sets of keys and values, shared by groups of heads; 0 gives every head its own."""
    head_width: WidthOrAuto = 0
    """Width of a head; 0 shares the width among the heads."""
    feed_forward: Units = 1024
    """Units of the feed-forward network in each layer."""
    activation: Activation = "relu"
    """Function in the feed-forward network; swiglu and geglu have a gate of as many units beside it."""
    positions: PositionsConfig = SinusoidalConfig()
    """How the order of the tokens is told."""
    norm: Norm = "layer"
    """Normalisation: layer = LayerNorm, rms = RMSNorm, which neither centres nor has a bias."""
    norm_position: NormPosition = "pre"
    """Norm before each sublayer and once at the end, or after each sum (post), which needs a longer warm-up."""
    norm_epsilon: float = Field(default=1e-5, ge=1e-12, le=1)
    """Added to what a norm divides by."""
    norm_embeddings: bool = False
    """Norm what the first layer reads, as BART does."""
    scale_embeddings: bool = True
    """Multiply embeddings by √width."""
    bias: bool = True
    """Whether dense layers and LayerNorms have a bias."""
    dropout: DropoutRate = 0.1
    """Dropout on embeddings and on what each sublayer adds."""
    attention_dropout: DropoutRate = 0.0
    """Dropout on attention weights."""
    activation_dropout: DropoutRate = 0.0
    """Dropout inside the feed-forward network."""
    layer_drop: DropoutRate = 0.0
    """Probability with which a layer, other than the last, is left out in training (Fan et al. 2019)."""

    @property
    def attention_heads(self) -> Heads:
        """Return the heads of an attention."""
        return Heads(self.heads, self.key_value_heads, self.head_width, self.bias)

    def build_norm(self) -> nn.Module:
        """Build a norm."""
        return build_norm(self.norm, self.width, self.norm_epsilon, self.bias)

    def build_feed_forward(self) -> FeedForward:
        """Build a feed-forward network."""
        return build_feed_forward(self.width, self.feed_forward, self.activation, self.activation_dropout, self.bias)

    def build_positions(self, name: str, sees_ahead: bool) -> Positions:
        """Build the positions of `name` ("model.encoder"), after its heads are seen to fit."""
        check_heads(name, self)
        spread = 1.0 if self.scale_embeddings else self.width**-0.5
        head_width = self.head_width or self.width // self.heads
        return self.positions.build(PartShape(name, self.width, self.heads, head_width, spread, sees_ahead))


def check_heads(name: str, config: TransformerConfig) -> None:
    """Refuse a width that the heads cannot share, and heads that cannot share keys and values."""
    heads, groups = config.heads, config.key_value_heads
    if not config.head_width and config.width % heads:
        raise UsageError(
            f"{name}.width must be a multiple of {name}.heads ({heads}), it is {config.width};"
            f" {name}.head_width frees it of that"
        )
    if groups and heads % groups:
        raise UsageError(f"{name}.heads must be a multiple of {name}.key_value_heads ({groups}), it is {heads}")
