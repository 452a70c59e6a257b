"""How long sequences may be: a table of learned positions ends somewhere, and training must stay within it."""

from calque.model import ModelConfig
from calque.nn.several import SeveralEncoderConfig
from calque.nn.transformer.config import TransformerConfig
from calque.nn.transformer.positions import LearnedConfig

LONGEST_BY_DEFAULT = 1_024


def position_limits(model: ModelConfig) -> list[tuple[int, str]]:
    """Return how many positions each side can tell apart, with the field that says so, smallest first."""
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
    """Return `wanted`, within what is usual and what positions there are."""
    limits = [limit for limit, _ in position_limits(model)]
    return min([max(32, min(LONGEST_BY_DEFAULT, wanted)), *limits])
