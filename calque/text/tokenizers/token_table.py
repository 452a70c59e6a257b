"""The tokens of an imported model by calque's ids: the id of each in the model, and the kind of the model.

Text gives only tokens of text; decoding leaves the others out (`<mask>`, languages, rows without a token).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import Field

from calque.config import Config
from calque.ids import NUM_SPECIALS, SPECIALS
from calque.text.tokenizers.tokenizer import MAX_ENTRIES, MAX_ENTRY_BYTES, damaged, read_limited, visible, well_formed

Family = Literal["marian", "t5", "pegasus", "mbart", "mbart50", "m2m_100", "bart"]
# The table itself has five; forms may contain others.
_MAX_BRACKETS = MAX_ENTRIES
_MAX_ID = 2**31 - 1


class Origin(Config):
    """The properties of the imported model that are needed to write its tokenizer's files again."""

    family: Family
    """The class of models."""
    source: str = Field("", max_length=32)
    """The language of the source, if the model has tokens for languages."""
    target: str = Field("", max_length=32)
    """The language of the target, likewise."""
    languages: str = Field("", max_length=32)
    """The name of the list of languages."""
    offset: int = Field(0, ge=0, le=MAX_ENTRIES)
    """Number of ids before the pieces."""
    extra_ids: int = Field(0, ge=0, le=MAX_ENTRIES)
    """Number of ids for gaps after the pieces."""
    prefix_space: bool = False
    """Whether a space is added before a text."""
    any_space: bool = False
    """Whether every whitespace character separates words, for models without a normalisation table for that."""


class Token(NamedTuple):
    """A token: its id in the imported model (−1 for none), its form (empty for a row without a token), and whether
    it is text.
    """

    id: int
    form: str
    is_text: bool


@dataclass(frozen=True)
class TokenTable:
    """The tokens by calque's ids, of which the first four are padding, unknown, start and end."""

    origin: Origin
    tokens: tuple[Token, ...]

    def __len__(self) -> int:
        """Return the number of ids."""
        return len(self.tokens)

    @property
    def ids(self) -> list[int]:
        """Return the id in the imported model of each of calque's ids."""
        return [token.id for token in self.tokens]

    @cached_property
    def forms(self) -> dict[str, int]:
        """Return the ids of the tokens that stand for text, by how they are written."""
        return {token.form: number for number, token in enumerate(self.tokens) if token.is_text}

    @cached_property
    def numbers(self) -> dict[int, int]:
        """Return calque's ids by those of the imported model; for an id shared with the start, the other token."""
        order = [2, *(number for number in range(len(self.tokens)) if number != 2)]
        return {self.tokens[number].id: number for number in order}

    def known(self, ids: Sequence[int]) -> list[str]:
        """Return the forms of the tokens that are text, without the others."""
        return [self.tokens[number].form for number in ids if self.tokens[number].is_text]

    def label(self, number: int) -> str:
        """Return a visible label of a token that is not text."""
        return SPECIALS[number] if number < NUM_SPECIALS else visible(self.tokens[number].form or "<no token>")

    def to_json(self) -> bytes:
        """Return the file: origin, ids, forms, and marks for text, each on a line."""
        ids, forms, marks = ([token[place] for token in self.tokens] for place in range(3))
        parts = {"format": 1, "origin": self.origin.model_dump(), "ids": ids, "forms": forms, "is_text": marks}
        lines = (f'"{name}": {json.dumps(part, ensure_ascii=False)}' for name, part in parts.items())
        return ("{\n" + ",\n".join(lines) + "\n}\n").encode()

    @classmethod
    def load(cls, path: Path) -> "TokenTable":
        """Read a file that `to_json` wrote; UsageError naming the file for any other content."""
        data = read_limited(path)
        # Brackets are counted first, because nested brackets could fill the memory.
        if data.count(b"[") + data.count(b"{") > _MAX_BRACKETS:
            raise damaged(path, "more brackets than any table has")
        try:
            values: dict[str, object] = json.loads(data)
            origin = Origin.model_validate(values["origin"], strict=True)
            columns = [values[name] for name in ("ids", "forms", "is_text")]
        except (ValueError, RecursionError, KeyError, TypeError):
            raise damaged(path, "not a table of tokens, or of a kind of model that calque does not know") from None
        checked: list[list[object]] = []
        for column, kind in zip(columns, (int, str, bool), strict=True):
            if not isinstance(column, list) or len(column) > MAX_ENTRIES or {*map(type, column)} - {kind}:
                raise damaged(path, f"a column is not a list of at most {MAX_ENTRIES:,} values of one type")
            checked.append(column)
        if len({*map(len, checked)}) > 1:
            raise damaged(path, "its columns have different lengths")
        table = cls(origin, tuple(map(Token._make, zip(*checked, strict=True))))
        _check(table, path)
        if table.to_json() != data:
            raise damaged(path, "not as calque writes it")
        return table


def is_form(text: str) -> bool:
    """Return whether a token may have this form."""
    if text.isascii():
        return len(text) <= MAX_ENTRY_BYTES and "\0" not in text
    return well_formed(text) == text and "\0" not in text and len(text.encode()) <= MAX_ENTRY_BYTES


def _check(table: TokenTable, path: Path) -> None:
    tokens = table.tokens
    if any(not -1 <= token.id <= _MAX_ID for token in tokens) or not all(is_form(token.form) for token in tokens):
        raise damaged(path, f"a token of more than {MAX_ENTRY_BYTES} bytes, or an id out of range")
    if len(tokens) < NUM_SPECIALS or any(token.is_text for token in tokens[:NUM_SPECIALS]):
        raise damaged(path, "the first four tokens are not padding, unknown, start and end")
    if any(token.is_text and not token.form for token in tokens):
        raise damaged(path, "a token of text is empty")
    if len(table.forms) < sum(token.is_text for token in tokens):
        raise damaged(path, "two tokens have the same form")
    # Of all tokens, only the start may share its id.
    single = [token.id for number, token in enumerate(tokens) if number != 2 and token.id >= 0]
    if len(set(single)) < len(single):
        raise damaged(path, "two tokens have the same id in the imported model")
