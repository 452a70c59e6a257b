"""The base of every section of the recipe: frozen, strict, its help written under each field."""

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """Refuse unknown keys and changes after construction; take each field's docstring as its help."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
