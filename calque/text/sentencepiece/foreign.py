"""SentencePiece models that calque did not train: checked, and written again in one form.

The C++ library reads that form only, so it cannot interpret the bytes in another way than the check did.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import sentencepiece

from calque.errors import UsageError
from calque.text.sentencepiece.charsmap import check_charsmap
from calque.text.sentencepiece.file import (
    BYTE,
    BYTE_PIECES,
    NORMAL,
    UNKNOWN,
    MalformedError,
    Piece,
    bytes_field,
    check_pieces,
    number_field,
    piece_field,
    read_pieces,
    read_varint,
)
from calque.text.tokenizers.tokenizer import MAX_ENTRIES, damaged

UNIGRAM, BPE = 1, 2
USER_DEFINED, UNUSED = 4, 5
TEXT_TYPES = (NORMAL, USER_DEFINED, UNUSED, BYTE)
"""Types of pieces that are text."""
_TYPES = range(NORMAL, BYTE + 1)
_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5
_MAX_VARINT_BYTES = 10
# Fields of the file, of its trainer settings and of its normalizer settings that affect the tokens of a text.
_PIECES, _TRAINER, _NORMALIZER, _DENORMALIZER = 1, 2, 3, 5
_ALGORITHM, _SIZE, _SUFFIX, _BYTE_FALLBACK, _UNKNOWN_ID = 3, 4, 24, 35, 40
_NAME, _CHARSMAP, _PREFIX, _SQUEEZE, _ESCAPE = 1, 2, 3, 4, 5

_Fields = dict[int, int | bytes]


@dataclass(frozen=True)
class Settings:
    """How a model cuts text: `charsmap` normalises it, `prefix` adds a space before it (after it if `suffix`),
    `squeeze` removes spaces at the ends and repeated ones, `escape` writes spaces as ▁.
    """

    algorithm: int = UNIGRAM
    byte_fallback: bool = False
    suffix: bool = False
    charsmap: bytes = b""
    prefix: bool = True
    squeeze: bool = True
    escape: bool = True


@dataclass(frozen=True)
class ForeignModel:
    """A checked model: its pieces in order, and its settings."""

    pieces: list[Piece]
    settings: Settings

    def to_bytes(self) -> bytes:
        """Return the model file in the one form."""
        return b"".join(map(piece_field, self.pieces)) + _settings_bytes(self.settings, self.pieces)

    @property
    def unknown(self) -> int:
        """Return the number of the unknown piece."""
        return _unknown(self.pieces)


def parse_model(data: bytes, path: Path) -> ForeignModel:
    """Return a model of any trainer; UsageError naming `path` if it is damaged, hostile or not supported."""
    try:
        pieces: list[Piece] = []
        rest: _Fields = {}
        for number, value in _fields(data):
            if number == _PIECES and isinstance(value, bytes):
                if len(pieces) == MAX_ENTRIES:
                    raise MalformedError(f"it has more than {MAX_ENTRIES:,} pieces")
                pieces.append(_piece(dict(_fields(value))))
            elif number != _PIECES:
                rest[number] = value
        return checked(ForeignModel(pieces, _settings(rest)))
    except MalformedError as error:
        raise UsageError(
            f"{path}: not a SentencePiece model that calque can read: {error}. Copy or download the file again."
        ) from None


def read_model(data: bytes, path: Path) -> ForeignModel:
    """Return a model that `to_bytes` wrote; UsageError naming `path` for other content."""
    try:
        pieces, end = read_pieces(data)
        model = checked(ForeignModel(pieces, _settings(dict(_fields(data[end:])))))
        if _settings_bytes(model.settings, pieces) != data[end:]:
            raise MalformedError("its settings are not as calque writes them")
    except MalformedError as error:
        raise damaged(path, str(error)) from None
    return model


def processor_of(model: bytes, path: Path | str) -> "sentencepiece.SentencePieceProcessor":
    """Return the library's processor of a checked model; UsageError if the library refuses it."""
    try:
        return sentencepiece.SentencePieceProcessor(model_proto=model)
    except (RuntimeError, OSError, ValueError) as error:
        raise UsageError(f"{path}: SentencePiece refuses the model: {error}.") from None


def checked(model: ForeignModel) -> ForeignModel:
    """Return the model; MalformedError for one that could harm the library."""
    pieces, settings = model.pieces, model.settings
    check_pieces(pieces)
    types = [piece.type for piece in pieces]
    if any(kind not in _TYPES for kind in types):
        raise MalformedError("a piece has an unknown type")
    if types.count(UNKNOWN) != 1 or NORMAL not in types:
        raise MalformedError("it needs ordinary pieces and one unknown piece")
    if settings.algorithm not in (UNIGRAM, BPE):
        raise MalformedError("its algorithm is neither unigram nor BPE")
    if settings.algorithm == BPE and UNUSED in types:
        raise MalformedError("pieces are marked as unused")
    spelled = [piece.text for piece in pieces if piece.type == BYTE]
    if sorted(spelled) != (sorted(BYTE_PIECES) if settings.byte_fallback else []):
        raise MalformedError("its byte pieces are not those of the 256 bytes")
    if settings.charsmap:
        check_charsmap(settings.charsmap)
    return model


def _unknown(pieces: list[Piece]) -> int:
    return next(number for number, piece in enumerate(pieces) if piece.type == UNKNOWN)


def _settings_bytes(settings: Settings, pieces: list[Piece]) -> bytes:
    trainer = number_field(_ALGORITHM, settings.algorithm) + number_field(_SIZE, len(pieces))
    trainer += number_field(_SUFFIX, settings.suffix) + number_field(_BYTE_FALLBACK, settings.byte_fallback)
    trainer += number_field(_UNKNOWN_ID, _unknown(pieces))
    flags = ((_PREFIX, settings.prefix), (_SQUEEZE, settings.squeeze), (_ESCAPE, settings.escape))
    normalizer = bytes_field(_NAME, b"imported") + bytes_field(_CHARSMAP, settings.charsmap)
    normalizer += b"".join(number_field(number, flag) for number, flag in flags)
    return bytes_field(_TRAINER, trainer) + bytes_field(_NORMALIZER, normalizer)


def _settings(fields: _Fields) -> Settings:
    trainer, normalizer = (dict(_fields(_data(fields, number))) for number in (_TRAINER, _NORMALIZER))
    if _data(dict(_fields(_data(fields, _DENORMALIZER))), _CHARSMAP):
        raise MalformedError("it has a table for decoding, which calque does not support")
    return Settings(
        algorithm=_number(trainer, _ALGORITHM, UNIGRAM),
        byte_fallback=bool(_number(trainer, _BYTE_FALLBACK, 0)),
        suffix=bool(_number(trainer, _SUFFIX, 0)),
        charsmap=_data(normalizer, _CHARSMAP),
        prefix=bool(_number(normalizer, _PREFIX, 1)),
        squeeze=bool(_number(normalizer, _SQUEEZE, 1)),
        escape=bool(_number(normalizer, _ESCAPE, 1)),
    )


def _piece(fields: _Fields) -> Piece:
    score = fields.get(2, b"\0" * 4)
    try:
        (number,) = struct.unpack("<f", score if isinstance(score, bytes) else b"")
        return Piece(_data(fields, 1).decode(), number, _number(fields, 3, NORMAL))
    except (struct.error, UnicodeDecodeError):
        raise MalformedError("a piece has a score that is not a number, or is not in UTF-8") from None


def _data(fields: _Fields, number: int) -> bytes:
    value = fields.get(number, b"")
    if not isinstance(value, bytes):
        raise MalformedError(f"field {number} is a number")
    return value


def _number(fields: _Fields, number: int, default: int) -> int:
    value = fields.get(number, default)
    if not isinstance(value, int):
        raise MalformedError(f"field {number} is not a number")
    return value


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield number and value of each field: an int, or the bytes of a text, a message or a float."""
    position = 0
    while position < len(data):
        tag, position = read_varint(data, position, _MAX_VARINT_BYTES)
        if tag & 7 == _VARINT:
            value, position = read_varint(data, position, _MAX_VARINT_BYTES)
            yield tag >> 3, value
            continue
        if tag & 7 == _BYTES:
            length, position = read_varint(data, position, _MAX_VARINT_BYTES)
        elif tag & 7 in (_FOUR_BYTES, _EIGHT_BYTES):
            length = 4 if tag & 7 == _FOUR_BYTES else 8
        else:
            raise MalformedError(f"there is no field at byte {position:,}")
        if length > len(data) - position:
            raise MalformedError("it is truncated")
        yield tag >> 3, data[position : position + length]
        position += length
