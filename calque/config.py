"""The base of every section of the recipe: frozen, strict, its help written under each field."""

import ast
import inspect
import textwrap
from functools import cache
from itertools import pairwise

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """Refuse unknown keys and changes after construction; the docstring under each field is its help."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@cache
def help_of(section: type[BaseModel]) -> dict[str, str]:
    """Return the help of each field of a section.

    It is read from the source when it is asked for: reading all of it at import would delay every start.
    """
    found: dict[str, str] = {}
    for kind in reversed(section.__mro__):
        if not issubclass(kind, Config):
            continue
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
        assert isinstance(definition, ast.ClassDef)
        for field, text in pairwise(definition.body):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
                found[ast.unparse(field.target)] = inspect.cleandoc(str(text.value.value))
    return found
