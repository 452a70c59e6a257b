"""The objectives that a recipe can select."""

from typing import Annotated

from pydantic import Field

from calque.training.objectives.likelihood import LikelihoodConfig

ObjectiveConfig = Annotated[LikelihoodConfig, Field(discriminator="kind")]
