"""The fields that the Transformer's encoder and decoder share; the defaults are those of a pre-norm Transformer.

T5 scales differently, which its imported weights make up for: queries are multiplied by √d, because T5 does not scale
scores, and its tied table is divided by √D, because T5 scales the output by 1/√D instead of embeddings by √D.
"""

from typing import Literal

from pydantic import Field

from calque.config import Config, DropoutRate, Layers, NumHeads, Units, Width, WidthOrAuto
from calque.errors import UsageError
from calque.nn.attention.multihead import Heads
from calque.nn.norms import Norm, NormModule, NormPosition, build_norm
from calque.nn.transformer.feed_forward import Activation, FeedForward, build_feed_forward
from calque.nn.transformer.positions import PartShape, Positions, PositionsConfig, SinusoidalConfig


class TransformerConfig(Config):
    """Base of the configs of encoder and decoder."""

    kind: Literal["transformer"] = "transformer"
    """Transformer (Vaswani et al. 2017)."""
    layers: Layers = 4
    """Number of layers."""
    width: Width = 256
    """Width of embeddings, layers and memory."""
    heads: NumHeads = 4
    """Number of attention heads."""
    key_value_heads: int = Field(default=0, ge=0, le=1_024)
    """Number of sets of keys and values, each shared by a group of heads; 0: one for every head."""
    head_width: WidthOrAuto = 0
    """Width of a head; 0: the width divided by the number of heads."""
    feed_forward: Units = 1024
    """Units of the feed-forward network in each layer."""
    activation: Activation = "relu"
    """Function of the feed-forward network; swiglu and geglu multiply it by a gate of as many units."""
    positions: PositionsConfig = SinusoidalConfig()
    """Position information, by which the model knows the order of tokens."""
    norm: Norm = "layer"
    """Normalisation: layer = LayerNorm; rms = RMSNorm, which does not centre and has no bias."""
    norm_position: NormPosition = "pre"
    """Norm before each sublayer and at the end (pre), or after each sum (post), which needs a longer warm-up."""
    norm_epsilon: float = Field(default=1e-5, ge=1e-12, le=1)
    """Number added to the denominator of a norm."""
    norm_embeddings: bool = False
    """Normalise the input of the first layer, as BART does."""
    scale_embeddings: bool = True
    """Multiply embeddings by √width."""
    bias: bool = True
    """Whether dense layers and LayerNorms have a bias."""
    dropout: DropoutRate = 0.1
    """Dropout on embeddings and on the output of each sublayer."""
    attention_dropout: DropoutRate = 0.0
    """Dropout on attention weights."""
    activation_dropout: DropoutRate = 0.0
    """Dropout inside the feed-forward network."""
    layer_drop: DropoutRate = 0.0
    """Probability of dropping a layer in training (Fan et al. 2019); the last layer is never dropped."""

    @property
    def attention_heads(self) -> Heads:
        """Return the heads of each attention."""
        return Heads(self.heads, self.key_value_heads, self.head_width, self.bias)

    def build_norm(self) -> NormModule:
        """Build a norm."""
        return build_norm(self.norm, self.width, self.norm_epsilon, self.bias)

    def build_feed_forward(self) -> FeedForward:
        """Build a feed-forward network."""
        return build_feed_forward(self.width, self.feed_forward, self.activation, self.activation_dropout, self.bias)

    def build_positions(self, name: str, sees_ahead: bool) -> Positions:
        """Build the positions of the part `name` ("model.encoder"); UsageError if the heads do not fit its width."""
        check_heads(name, self)
        spread = 1.0 if self.scale_embeddings else self.width**-0.5
        head_width = self.head_width or self.width // self.heads
        return self.positions.build(PartShape(name, self.width, self.heads, head_width, spread, sees_ahead))


def check_heads(name: str, config: TransformerConfig) -> None:
    """Raise UsageError if heads do not divide the width, or sets of keys and values do not divide the heads."""
    heads, groups = config.heads, config.key_value_heads
    if not config.head_width and config.width % heads:
        raise UsageError(
            f"{name}.width must be a multiple of {name}.heads ({heads}), it is {config.width};"
            f" or set {name}.head_width, which allows any width"
        )
    if groups and heads % groups:
        raise UsageError(f"{name}.heads must be a multiple of {name}.key_value_heads ({groups}), it is {heads}")
