"""The optimizers that a recipe can select."""

from typing import Annotated

from pydantic import Field

from calque.training.optimizers.adam import AdamConfig, AdamWConfig

OptimizerConfig = Annotated[AdamConfig | AdamWConfig, Field(discriminator="kind")]
