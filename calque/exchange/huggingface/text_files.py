"""Read the tokenizer files of a Hugging Face folder, which are not trusted, as SentencePiece models.

Only tokens, scores and the normalisation table of `tokenizer.json` are read; the rest is fixed for each class.
"""

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from calque.errors import UsageError
from calque.text.sentencepiece.file import CONTROL, NORMAL, UNKNOWN, MalformedError, Piece
from calque.text.sentencepiece.foreign import ForeignModel, Settings, checked, parse_model
from calque.text.tokenizers.token_table import is_form
from calque.text.tokenizers.tokenizer import MAX_ENTRIES, MAX_ENTRY_BYTES, read_limited

FAST = "tokenizer.json"
_MAX_JSON_BYTES = 48 * 2**20
# Each bracket and comma may become an object in memory; a token with its score needs three.
_MAX_SIGNS = 5 * MAX_ENTRIES
_MAX_SETTINGS_BYTES = 2**21


def read_json(path: Path, limit: int = _MAX_JSON_BYTES) -> dict[str, Any]:
    """Return the JSON object in a file; UsageError names a file with anything else."""
    data = read_limited(path, limit)
    if sum(data.count(sign) for sign in (b"[", b"{", b",")) > _MAX_SIGNS:
        raise UsageError(f"{path}: the file has more entries than any vocabulary.")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not JSON ({type(error).__name__}). Copy or download the file again.") from None
    if not isinstance(value, dict):
        raise UsageError(f"{path}: not a JSON object. Copy or download the file again.")
    return value


def read_settings(folder: Path) -> dict[str, Any]:
    """Return tokenizer_config.json, or an empty object if the file is missing."""
    path = folder / "tokenizer_config.json"
    return read_json(path, _MAX_SETTINGS_BYTES) if path.is_file() else {}


def read_vocabulary(path: Path) -> dict[str, int]:
    """Return the ids of tokens in a vocab.json; UsageError names the file and a damaged entry."""
    return checked_vocabulary(read_json(path), path)


def checked_vocabulary(entries: Mapping[str, Any], path: Path) -> dict[str, int]:
    """Return ids by token; UsageError unless each token has its own id."""
    if len(entries) > MAX_ENTRIES:
        raise UsageError(f"{path}: more than {MAX_ENTRIES:,} tokens.")
    for token, number in entries.items():
        if type(number) is not int or not 0 <= number < 2 * MAX_ENTRIES or not token or not is_form(token):
            raise UsageError(
                f"{path}: the entry {token[:40]!r} is not a token of up to {MAX_ENTRY_BYTES} bytes with an id."
                " Copy or download the file again."
            )
    if len(set(entries.values())) < len(entries):
        raise UsageError(f"{path}: two tokens have the same id. Copy or download the file again.")
    return dict(entries)


def read_spm(path: Path) -> ForeignModel:
    """Return a checked SentencePiece model."""
    return parse_model(read_limited(path), path)


def read_unigrams(path: Path) -> tuple[list[Piece], Settings]:
    """Return tokens and scores of a tokenizer.json by id, and the settings of an equivalent SentencePiece model."""
    fast = read_json(path)
    model = fast.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    if not isinstance(vocabulary, list) or not isinstance(model, dict) or model.get("type", "Unigram") != "Unigram":
        raise UsageError(f"{path}: its model is not a list of pieces with scores (Unigram), which this class needs.")
    added = fast.get("added_tokens")
    special = {
        entry.get("content")
        for entry in (added if isinstance(added, list) else [])
        if isinstance(entry, dict) and entry.get("special") is True
    }
    unknown = model.get("unk_id")
    if len(vocabulary) > MAX_ENTRIES or type(unknown) is not int or not 0 <= unknown < len(vocabulary):
        raise UsageError(f"{path}: more than {MAX_ENTRIES:,} pieces, or no piece for unknown text.")
    pieces = []
    for number, entry in enumerate(vocabulary):
        if not _is_scored(entry):
            raise UsageError(f"{path}: entry {number} is not a piece of up to {MAX_ENTRY_BYTES} bytes with a score.")
        kind = UNKNOWN if number == unknown else CONTROL if entry[0] in special else NORMAL
        pieces.append(Piece(entry[0], float(entry[1]), kind))
    return pieces, Settings(charsmap=_charsmap(fast.get("normalizer"), path))


def as_model(pieces: list[Piece], settings: Settings, path: Path) -> ForeignModel:
    """Return a checked model of pieces; UsageError names the file that they come from."""
    try:
        return checked(ForeignModel(pieces, settings))
    except MalformedError as error:
        raise UsageError(f"{path}: its pieces are not a valid SentencePiece model: {error}.") from None


def read_pairs(folder: Path) -> tuple[dict[str, int], list[Any], bool, Path]:
    """Return the ids of tokens, the merges, whether a space comes first, and the file, of a tokenizer.json."""
    path = folder / FAST
    fast = read_json(path)
    model = fast.get("model")
    if not isinstance(model, dict) or model.get("type", "BPE") != "BPE" or not isinstance(model.get("vocab"), dict):
        raise UsageError(f"{path}: its model is not byte-pair encoding (BPE), which BART needs.")
    merges = model.get("merges")
    if not isinstance(merges, list):
        raise UsageError(f"{path}: there is no list of merges.")
    vocabulary = checked_vocabulary(model["vocab"], path)
    cutter = next((part for part in _parts(fast.get("pre_tokenizer")) if part.get("type") == "ByteLevel"), None)
    if cutter is None:
        raise UsageError(f"{path}: it does not split text into bytes (ByteLevel), which BART needs.")
    added = fast.get("added_tokens")
    for entry in added if isinstance(added, list) else []:
        if isinstance(entry, dict) and isinstance(entry.get("content"), str) and type(entry.get("id")) is int:
            vocabulary.setdefault(entry["content"], entry["id"])
    return checked_vocabulary(vocabulary, path), merges, cutter.get("add_prefix_space") is True, path


def _is_scored(entry: Any) -> bool:
    if not isinstance(entry, list) or len(entry) != 2 or not isinstance(entry[0], str) or not is_form(entry[0]):
        return False
    return type(entry[1]) in (int, float) and abs(entry[1]) < 1e30


def _charsmap(normalizer: Any, path: Path) -> bytes:
    for part in _parts(normalizer):
        table = part.get("precompiled_charsmap")
        if part.get("type") == "Precompiled" and isinstance(table, str):
            try:
                return base64.b64decode(table, validate=True)
            except (binascii.Error, ValueError):
                raise UsageError(f"{path}: its normalisation table is not base64. Copy the file again.") from None
    return b""


def _parts(component: Any) -> Iterator[dict[str, Any]]:
    """Yield a component of tokenizer.json, or each component of a sequence."""
    if isinstance(component, dict):
        yield component
        for name in ("normalizers", "pretokenizers"):
            inner = component.get(name)
            yield from (part for part in (inner if isinstance(inner, list) else []) if isinstance(part, dict))
