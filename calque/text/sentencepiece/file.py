"""The bytes of a SentencePiece model, written in one form only and checked before the C++ library reads them.

That library trusts its input (a crafted piece or normalisation table makes it crash), so a file must be, byte for
byte, the result of `write_model` for its pieces. Format: `sentencepiece_model.proto` of google/sentencepiece.
"""

import struct
from pathlib import Path
from typing import Literal, NamedTuple

from calque.ids import SPECIALS, UNK
from calque.text.tokenizers.tokenizer import MAX_ENTRIES, MAX_ENTRY_BYTES, damaged

Algorithm = Literal["unigram", "bpe"]

NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6
BYTE_PIECES = tuple(f"<0x{byte:02X}>" for byte in range(256))

_NUMBERS: dict[Algorithm, int] = {"unigram": 1, "bpe": 2}
# Scores are log-probabilities or −rank; an extreme one could break the search for the best path.
_MAX_SCORE = 1e7
_MAX_MESSAGE_BYTES = MAX_ENTRY_BYTES + 32
_VARINT, _BYTES = 0, 2
# Field and wire type in one byte: a piece in the file; text, score and type in a piece.
_PIECE, _TEXT, _SCORE, _TYPE = b"\x0a", b"\x0a", b"\x15", b"\x18"
_FLOAT = struct.Struct("<f")


class Piece(NamedTuple):
    """One entry of the vocabulary: its text (▁ for a space), score and type."""

    text: str
    score: float
    type: int


class MalformedError(Exception):
    """The bytes are not a model; the caller adds the name of the file to the message."""


def write_model(pieces: list[Piece], algorithm: Algorithm) -> bytes:
    """Return the model file for `pieces`: identity normalisation, every space kept, one space added in front."""
    messages = b"".join(piece_field(piece) for piece in pieces)
    return messages + _settings(len(pieces), algorithm, _has_bytes(pieces))


def rewrite_model(trained: bytes, algorithm: Algorithm) -> bytes:
    """Return a model of the trainer in the one form, without the trainer's settings, which do not affect the text."""
    return write_model(read_pieces(trained)[0], algorithm)


def check_model(data: bytes, path: Path) -> None:
    """Raise UsageError naming `path` unless `data` is a model as calque writes it."""
    try:
        pieces, end = read_pieces(data)
        check_pieces(pieces)
        _check_reserved(pieces)
        if data[end:] not in [_settings(len(pieces), algorithm, _has_bytes(pieces)) for algorithm in _NUMBERS]:
            raise MalformedError("its settings are not those of calque")
    except MalformedError as error:
        raise damaged(path, str(error)) from None


def check_pieces(pieces: list[Piece]) -> None:
    """Raise MalformedError for texts or scores that could harm the library, and for repeated pieces."""
    texts: set[str] = set()
    for number, piece in enumerate(pieces):
        if not piece.text or "\0" in piece.text or len(piece.text.encode()) > MAX_ENTRY_BYTES:
            raise MalformedError(f"piece {number} is empty, longer than {MAX_ENTRY_BYTES} bytes, or has a zero byte")
        # In this form the comparison refuses NaN too.
        if not abs(piece.score) <= _MAX_SCORE:
            raise MalformedError(f"piece {number} has the score {piece.score}")
        if piece.text in texts:
            raise MalformedError(f"piece {number} occurs twice")
        texts.add(piece.text)


def _check_reserved(pieces: list[Piece]) -> None:
    reserved = [(text, UNKNOWN if number == UNK else CONTROL) for number, text in enumerate(SPECIALS)]
    if _has_bytes(pieces):
        reserved += [(text, BYTE) for text in BYTE_PIECES]
    for number, (text, kind) in enumerate(reserved):
        if number >= len(pieces) or (pieces[number].text, pieces[number].type) != (text, kind):
            raise MalformedError(f"piece {number} is not {text}")
    if len(pieces) == len(reserved) or any(piece.type != NORMAL for piece in pieces[len(reserved) :]):
        raise MalformedError("it has no ordinary pieces, or a reserved one among them")


def _has_bytes(pieces: list[Piece]) -> bool:
    return len(pieces) > len(SPECIALS) and pieces[len(SPECIALS)].type == BYTE


def read_pieces(data: bytes) -> tuple[list[Piece], int]:
    """Return the pieces, which come first in a file of the one form, and the position after them."""
    pieces: list[Piece] = []
    position = 0
    while data.startswith(_PIECE, position):
        if short := _short_piece(data, position):
            pieces.append(short[0])
            position = short[1]
            if len(pieces) > MAX_ENTRIES:
                raise MalformedError(f"more than {MAX_ENTRIES:,} pieces")
            continue
        length, start = read_varint(data, position + 1)
        end = start + length
        if length > _MAX_MESSAGE_BYTES or len(pieces) == MAX_ENTRIES:
            raise MalformedError(f"a piece of {length:,} bytes, or more than {MAX_ENTRIES:,} pieces")
        piece = _read_piece(data[start:end])
        # A message with other fields, or written in another form, is refused here.
        if piece_field(piece) != data[position:end]:
            raise MalformedError(f"piece {len(pieces)} is truncated or has unknown fields")
        pieces.append(piece)
        position = end
    return pieces, position


def _short_piece(data: bytes, position: int) -> tuple[Piece, int] | None:
    """Return a piece of the one form, with lengths of one byte each, and the position after it; None for others."""
    head = data[position : position + 4]
    if len(head) < 4 or head[1] > 0x7F or head[2:3] != _TEXT or head[3] > 0x7F:
        return None
    start, end = position + 4, position + 2 + head[1]
    stop = start + head[3]
    rest = end - stop
    if data[stop : stop + 1] != _SCORE or end > len(data) or rest not in (5, 7):
        return None
    kind = NORMAL if rest == 5 else data[end - 1]
    if rest == 7 and (data[end - 2 : end - 1] != _TYPE or kind == NORMAL or kind > 0x7F):
        return None
    try:
        return Piece(data[start:stop].decode(), _FLOAT.unpack_from(data, stop + 1)[0], kind), end
    except UnicodeDecodeError:
        return None


def _read_piece(message: bytes) -> Piece:
    """Read text, score and type from their places in the one form; the caller compares the bytes."""
    length, start = read_varint(message, 1)
    text, rest = message[start : start + length], message[start + length :]
    try:
        (score,) = struct.unpack("<f", rest[1:5])
        return Piece(text.decode(), score, rest[6] if len(rest) > 6 else NORMAL)
    except (struct.error, UnicodeDecodeError):
        raise MalformedError("a piece without a score, or not in UTF-8") from None


def piece_field(piece: Piece) -> bytes:
    """Return the field of a piece, in the one form."""
    text = piece.text.encode()
    kind = b"" if piece.type == NORMAL else _TYPE + _to_varint(piece.type)
    message = _TEXT + _to_varint(len(text)) + text + _SCORE + struct.pack("<f", piece.score) + kind
    return _PIECE + _to_varint(len(message)) + message


def _settings(num_pieces: int, algorithm: Algorithm, byte_fallback: bool) -> bytes:
    trainer = number_field(3, _NUMBERS[algorithm]) + number_field(4, num_pieces)
    trainer += number_field(35, int(byte_fallback))
    trainer += b"".join(number_field(field, number) for field, number in ((40, 1), (41, 2), (42, 3), (43, 0)))
    normalizer = bytes_field(1, b"identity") + bytes_field(2, b"") + number_field(4, 0)
    return bytes_field(2, trainer) + bytes_field(3, normalizer)


def _tag(field: int, wire_type: int) -> bytes:
    return _to_varint(field << 3 | wire_type)


def bytes_field(field: int, data: bytes) -> bytes:
    """Return a field of bytes, text or a message."""
    return _tag(field, _BYTES) + _to_varint(len(data)) + data


def number_field(field: int, value: int) -> bytes:
    """Return a field of a non-negative number."""
    return _tag(field, _VARINT) + _to_varint(value)


def _to_varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def read_varint(data: bytes, position: int, most: int = 5) -> tuple[int, int]:
    """Return the number at `position` and the position after it; it has at most `most` bytes."""
    if position < len(data) and data[position] < 0x80:
        return data[position], position + 1
    value = 0
    for count, byte in enumerate(data[position : position + most]):
        value |= (byte & 0x7F) << 7 * count
        if byte < 0x80:
            return value, position + count + 1
    raise MalformedError(f"there is no number at byte {position:,}")
