"""The configuration tree, with one section per part of calque; each class is defined with what it configures."""

from typing import Literal

from calque.config import Config
from calque.data.files.readers import DataConfig
from calque.model import ModelConfig
from calque.search.options import SearchConfig
from calque.tasks.kinds import TaskConfig
from calque.text.pair import TextConfig
from calque.training.config import TrainConfig


class Recipe(Config):
    """All settings of a run except the data themselves."""

    format: Literal[1] = 1
    """Version of this format."""
    task: TaskConfig = TaskConfig()
    """The task: what a pair means, and its metrics."""
    data: DataConfig = DataConfig()
    """The data: validation and test files, lengths, columns."""
    text: TextConfig = TextConfig()
    """The conversion of text to tokens."""
    model: ModelConfig = ModelConfig()
    """The parts of the model."""
    train: TrainConfig = TrainConfig()
    """Training."""
    search: SearchConfig = SearchConfig()
    """The search for outputs."""
