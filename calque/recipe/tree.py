"""The configuration tree, one section a part of calque; each class stands beside what it configures."""

from typing import Literal

from calque.config import Config
from calque.data.files.readers import DataConfig
from calque.model import ModelConfig
from calque.search.options import SearchConfig
from calque.tasks.kinds import TaskConfig
from calque.text.pair import TextConfig
from calque.training.config import TrainConfig


class Recipe(Config):
    """Everything that decides a run, besides the data."""

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
