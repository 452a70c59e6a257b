"""The ids around the text of a source, and before a target, in imported models.

BART puts <s> before a source, M2M-100 and mBART-50 the language, and force the language of the answer as its first
token (Liu et al. 2020; Fan et al. 2021). Users write `>>xxx<<` themselves for Marian models of several languages.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

from pydantic import Field

from calque.config import Config
from calque.text.source import SourceIds

_Id = Annotated[int, Field(ge=0)]
_Ids = Annotated[tuple[_Id, ...], Field(max_length=8)]
_OPEN, _CLOSE = ">>", "<<"


class Frame(Config):
    """The ids that are put around a text; saved in text.json."""

    before: _Ids = ()
    """Ids before each source, and before each part of a long one."""
    after: _Ids = ()
    """Ids after each source, before its end."""
    target: _Ids = ()
    """Ids that every answer begins with."""
    codes: dict[str, _Id] = Field({}, max_length=1_000)
    """Ids of the codes that a source may begin with, such as `>>deu<<`; no other text becomes a special token."""

    @property
    def is_empty(self) -> bool:
        """Return whether nothing is put around a text."""
        return self == NO_FRAME

    def is_within(self, source_size: int, target_size: int) -> bool:
        """Return whether all ids are within vocabularies of these sizes."""
        source = (*self.before, *self.after, *self.codes.values())
        return all(number < source_size for number in source) and all(number < target_size for number in self.target)

    def split(self, text: str) -> tuple[tuple[int, ...], str]:
        """Return the id of the code that a text begins with, if there is one, and the rest of the text."""
        end = text.find(_CLOSE) + len(_CLOSE) if text.startswith(_OPEN) else 0
        code = self.codes.get(text[:end])
        return ((), text) if code is None else ((code,), text[end:])

    def around(self, sources: Sequence[SourceIds]) -> list[SourceIds]:
        """Return sources with the ids around them, and with those before their targets as a prefix."""
        return [
            replace(source.framed(self.before, self.after), prefix=(*self.target, *source.prefix)) for source in sources
        ]


NO_FRAME = Frame()
