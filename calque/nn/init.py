"""Initial weights of layers."""

from torch import nn


def glorot(linear: nn.Linear, num_blocks: int = 1) -> None:
    """Draw the weights as in Glorot & Bengio 2010, separately for each of the stacked blocks; set the bias to 0."""
    for block in linear.weight.data.chunk(num_blocks):
        nn.init.xavier_uniform_(block)
    if linear.bias is not None:
        nn.init.zeros_(linear.bias)
