"""Limits of sequence lengths: training must stay within a table of learned positions."""

from calque.model import ModelConfig
from calque.nn.several import SeveralEncoderConfig
from calque.nn.transformer.config import TransformerConfig
from calque.nn.transformer.positions import LearnedConfig

LONGEST_BY_DEFAULT = 1_024


def position_limits(model: ModelConfig) -> list[tuple[int, str]]:
    """Return the number of positions of each side that has a limit, with its field, smallest first."""
    encoder = model.encoder
    parts: list[tuple[str, object]] = [("encoder", encoder), ("decoder", model.decoder)]
    if isinstance(encoder, SeveralEncoderConfig):
        parts += [(f"encoder.encoders.{number}", part) for number, part in enumerate(encoder.encoders)]
    return sorted(
        (part.positions.limit, f"model.{name}.positions.limit")
        for name, part in parts
        if isinstance(part, TransformerConfig) and isinstance(part.positions, LearnedConfig)
    )


def default_max_length(model: ModelConfig, wanted: int) -> int:
    """Return `wanted` within the usual bounds and the number of positions."""
    limits = [limit for limit, _ in position_limits(model)]
    return min([max(32, min(LONGEST_BY_DEFAULT, wanted)), *limits])
