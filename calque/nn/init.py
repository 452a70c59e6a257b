"""How the weights of new layers are drawn."""

from torch import nn


def glorot(linear: nn.Linear, num_blocks: int = 1) -> None:
    """Draw the weights by Glorot & Bengio 2010, each of the stacked blocks on its own; zero the bias, if any."""
    for block in linear.weight.data.chunk(num_blocks):
        nn.init.xavier_uniform_(block)
    if linear.bias is not None:
        nn.init.zeros_(linear.bias)
