"""The configuration tree, one section a part of calque; each class stands beside what it configures."""

from typing import Literal

from pydantic import model_validator

from calque.config import Config
from calque.data.files.readers import DataConfig
from calque.errors import UsageError
from calque.model import ModelConfig
from calque.nn.attention.hierarchical import HierarchicalAttentionConfig
from calque.nn.several import SeveralEncoderConfig
from calque.search.options import SearchConfig
from calque.tasks.kinds import TaskConfig
from calque.text.pair import TextConfig
from calque.training.config import TrainConfig


class Recipe(Config):
    """Hold everything that decides a run, besides the data."""

    format: Literal[1] = 1
    """Version of this format."""
    task: TaskConfig = TaskConfig()
    """What the pairs are."""
    data: DataConfig = DataConfig()
    """What is read besides the training pairs, and how."""
    text: TextConfig = TextConfig()
    """How text becomes tokens."""
    model: ModelConfig = ModelConfig()
    """Which parts make the model."""
    train: TrainConfig = TrainConfig()
    """How it is trained."""
    search: SearchConfig = SearchConfig()
    """How outputs are looked for."""

    @model_validator(mode="after")
    def _sources_fit(self) -> "Recipe":
        """Raise UsageError where parts that read source by source do not fit the sources that there are."""
        encoder, num_sources = self.model.encoder, len(self.data.columns.sources)
        attention = getattr(self.model.decoder, "attention", None)
        if isinstance(encoder, SeveralEncoderConfig) and len(encoder.encoders) != num_sources:
            raise UsageError(
                f"model.encoder.encoders has {len(encoder.encoders)} encoders, and data.columns.source names"
                f' {num_sources}: every source needs one encoder. Name them: data.columns.source = ["…", "…"]'
            )
        if not isinstance(attention, HierarchicalAttentionConfig):
            return self
        if not isinstance(encoder, SeveralEncoderConfig):
            raise UsageError(
                f"model.decoder.attention: hierarchical attends source by source, and model.encoder.kind is"
                f" {encoder.kind}; set it to several, with an encoder for each source, or take kind = general"
            )
        if attention.sources != num_sources:
            raise UsageError(
                f"model.decoder.attention.sources is {attention.sources}, and data.columns.source names {num_sources};"
                f" set it to {num_sources}"
            )
        return self
