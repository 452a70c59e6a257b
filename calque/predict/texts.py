"""The input of a Predictor: one text or any iterable of texts, checked and parsed once."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from calque.errors import DataError, UsageError
from calque.text.graph.layout import SourceError
from calque.text.inputs import InputLine
from calque.text.pair import TextPair

Line: TypeAlias = str | Mapping[str, Any]


class WrongInputError(UsageError, TypeError):
    """An input that is not a text; also a TypeError."""


def checked_lines(texts: Iterable[Line]) -> list[Line]:
    """Return texts as a list; WrongInputError with position and type for anything else."""
    # These can be iterated over, but not over texts in a fixed order.
    is_frame = hasattr(texts, "columns") and hasattr(texts, "iloc")
    if isinstance(texts, str | Mapping | bytes | bytearray | set | frozenset) or is_frame:
        hint = " Give one of its columns." if is_frame else ""
        raise WrongInputError(f"texts: a list of strings is needed, not {_kind(texts)}.{hint}")
    try:
        lines = list(texts)
    except TypeError:
        raise WrongInputError(f"text: a string or a list of strings is needed, not {_kind(texts)}.") from None
    for number, line in enumerate(lines, start=1):
        if not isinstance(line, str | Mapping):
            hint = " Decode it first: text.decode()." if isinstance(line, bytes | bytearray) else ""
            raise WrongInputError(f"text {number}: a string or a dictionary is needed, not {_kind(line)}.{hint}")
    return lines


def parse_lines(lines: Iterable[Line], text: TextPair, tag: str = "") -> list[InputLine]:
    """Return the parsed lines; raise SourceError with the number, from 0, of one that cannot be parsed."""
    if not isinstance(tag, str):
        raise WrongInputError(f"tag: a string is needed, not {_kind(tag)}.")
    parsed = []
    for number, line in enumerate(lines):
        try:
            parsed.append(_parse(line, text, tag))
        except DataError as error:
            raise SourceError(error.message, number) from None
    return parsed


def _parse(line: Line, text: TextPair, tag: str) -> InputLine:
    if not isinstance(line, str) and text.inputs.is_one_text and text.layout.is_line:
        line = text.inputs.line(line)
    parsed = text.inputs.parse(line, tag)
    for part in parsed.texts:
        _require_unicode(part)
    return parsed


def _require_unicode(text: str) -> None:
    """Raise DataError for an unpaired surrogate, which no tokenizer can encode."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"character {error.start + 1} is the unpaired surrogate U+{ord(text[error.start]):04X}, which is not valid"
            " Unicode. It usually comes from bytes that are not UTF-8: use UTF-8 for the terminal or the file."
        ) from None


def _kind(value: object) -> str:
    name = type(value).__name__
    return name if value is None else f"{name} ({str(value)[:40]!r})" if isinstance(value, int | float) else name
