"""Checks for settings that another library does not support; errors name the field of the recipe."""

from collections.abc import Collection
from typing import Any

from calque.errors import UsageError
from calque.model import ModelConfig
from calque.nn.recurrent.encoder_decoder import RecurrentConfig, RecurrentDecoderConfig

CELLS: tuple[str, ...] = ("lstm", "gru", "rnn")


def require(field: str, value: Any, known: Collection[Any], library: str) -> None:
    """Raise UsageError if the library does not support the value of a field of the recipe."""
    if value not in known:
        have = " or ".join(_written(each) for each in known)
        raise UsageError(
            f"{field} is {_written(value)}, which export to {library} does not support; it supports {have}."
            f" Train a model with {field} = {_written(next(iter(known)))} to export it"
        )


def require_recurrent(config: ModelConfig, attentions: Collection[str], library: str) -> None:
    """Raise UsageError for recurrent parts that the library does not support; it supports `attentions`."""
    for name, part in (("encoder", config.encoder), ("decoder", config.decoder)):
        if isinstance(part, RecurrentConfig):
            require(f"model.{name}.layer_norm", part.layer_norm, (False,), library)
    if isinstance(config.decoder, RecurrentDecoderConfig):
        attention = config.decoder.attention
        require("model.decoder.attention.kind", attention.kind, attentions, library)
        coverage, normaliser = getattr(attention, "coverage", False), getattr(attention, "normaliser", "softmax")
        require("model.decoder.attention.coverage", coverage, (False,), library)
        require("model.decoder.attention.normaliser", normaliser, ("softmax",), library)
    require("model.head.kind", config.head.kind, ("softmax",), library)


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
