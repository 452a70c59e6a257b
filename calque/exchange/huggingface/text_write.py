"""Write tokenizers as files of a Hugging Face folder: calque's SentencePiece as Marian's, imported ones unchanged.

Marian's tokenizer returns calque's ids for all texts except: a text with ▁, which calque distinguishes from a space; a
text with a special token, or with `>>` at the start and `<<` later; and a text that is not in the Unicode form of
`text.normalise`, which Marian's tokenizer does not apply.
"""

import json
from pathlib import Path
from typing import Any

from calque.errors import UsageError
from calque.ids import BOS, EOS, PAD
from calque.system.files import write_atomic
from calque.text.pair import TextPair
from calque.text.sentencepiece.file import read_pieces
from calque.text.tokenizers.imported import ImportedBytePairTokenizer, ImportedSentencePieceTokenizer, write_merges
from calque.text.tokenizers.subword import SentencePieceTokenizer
from calque.text.tokenizers.token_table import TokenTable

_Imported = ImportedSentencePieceTokenizer | ImportedBytePairTokenizer
_CLASSES = {
    "marian": "MarianTokenizer",
    "t5": "T5Tokenizer",
    "pegasus": "PegasusTokenizer",
    "mbart": "MBartTokenizer",
    "mbart50": "MBart50Tokenizer",
    "m2m_100": "M2M100Tokenizer",
    "bart": "BartTokenizer",
}
_MODELS = {"t5": "spiece.model", "pegasus": "spiece.model"}


def write_text(text: TextPair, folder: Path) -> dict[str, Any]:
    """Write the files of a Hugging Face tokenizer that returns the same ids, up to `written_ids`.

    Returns the fields of config.json: the ids of padding, start and end, those that an answer starts with and is forced
    to begin with, and the sizes of the vocabularies. Raises UsageError for a text side that it cannot have.
    """
    _require_plain(text)
    folder.mkdir(parents=True, exist_ok=True)
    source, target = text.source, text.target
    if isinstance(source, _Imported) and isinstance(target, _Imported):
        return _write_imported(text, source, target, folder)
    assert isinstance(source, SentencePieceTokenizer)
    assert isinstance(target, SentencePieceTokenizer)
    for name, side in (("source", source), ("target", target)):
        write_atomic(folder / f"{name}.spm", _model(side))
    _write_json(folder / "vocab.json", _vocabulary(source))
    if not text.joint:
        _write_json(folder / "target_vocab.json", _vocabulary(target))
    _write_settings(folder, "marian", {"separate_vocabs": not text.joint})
    return {
        "pad_token_id": PAD,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "decoder_start_token_id": BOS,
        "forced_bos_token_id": None,
        "vocab_size": source.vocab_size,
        "decoder_vocab_size": target.vocab_size,
    }


def written_ids(text: TextPair) -> tuple[list[int], list[int]]:
    """Return the id that `write_text` writes for each of calque's ids, of the source and of the target."""
    sides = [
        side.table.ids if isinstance(side, _Imported) else list(range(side.vocab_size))
        for side in (text.source, text.target)
    ]
    return sides[0], sides[0] if sides[0] == sides[1] else sides[1]


def _require_plain(text: TextPair) -> None:
    """Raise UsageError for a text side that Hugging Face's tokenizers do not support."""
    if not text.layout.is_line:
        raise UsageError("text.layout: Hugging Face has no tokenizer for graphs; only models of lines can be exported.")
    if not text.inputs.is_one_text:
        raise UsageError(
            "data.columns: Hugging Face has no tokenizer for several sources or for calque's tags; only a model with"
            " one source without a tag can be exported."
        )
    if text.copying:
        raise UsageError("text.copying: Hugging Face's tokenizers do not copy; train with text.copying = false.")
    sides = (text.source, text.target)
    if isinstance(text.source, _Imported) and isinstance(text.target, _Imported):
        return
    if not all(isinstance(side, SentencePieceTokenizer) for side in sides):
        raise UsageError(
            f"text.source.kind and text.target.kind are {text.source.kind} and {text.target.kind}; of calque's"
            " tokenizers, Hugging Face has only sentencepiece. Train with text.kind = sentencepiece to export models."
        )


def _write_imported(text: TextPair, source: _Imported, target: _Imported, folder: Path) -> dict[str, Any]:
    origin = source.table.origin
    settings: dict[str, Any] = {}
    if isinstance(source, ImportedBytePairTokenizer):
        _write_json(folder / "vocab.json", _numbered(source.table))
        write_atomic(folder / "merges.txt", write_merges(source.merges))
        settings = {"add_prefix_space": origin.prefix_space}
    elif origin.family == "marian":
        assert isinstance(target, ImportedSentencePieceTokenizer)
        write_atomic(folder / "source.spm", source.model)
        write_atomic(folder / "target.spm", target.model)
        first, second = _numbered(source.table), _numbered(target.table)
        _write_json(folder / "vocab.json", first)
        if first != second:
            _write_json(folder / "target_vocab.json", second)
        settings = {"separate_vocabs": first != second}
    else:
        write_atomic(folder / _MODELS.get(origin.family, "sentencepiece.bpe.model"), source.model)
    if origin.family == "m2m_100":
        within = {form: number for form, number in _numbered(source.table).items() if number < origin.offset}
        _write_json(folder / "vocab.json", within)
        settings = {"language_codes": origin.languages}
    if origin.source:
        settings |= {"src_lang": origin.source, "tgt_lang": origin.target}
    settings |= {"extra_ids": origin.extra_ids} if origin.family == "t5" else {}
    settings |= {"offset": origin.offset} if origin.family == "pegasus" else {}
    _write_settings(folder, origin.family, settings)
    return _imported_ids(text, source.table, target.table)


def _imported_ids(text: TextPair, source: TokenTable, target: TokenTable) -> dict[str, Any]:
    ids = target.ids
    begins = {token.form: token.id for token in target.tokens}
    return {
        "pad_token_id": ids[PAD],
        "bos_token_id": begins.get("<s>"),
        "eos_token_id": ids[EOS],
        "decoder_start_token_id": ids[BOS],
        "forced_bos_token_id": ids[text.frame.target[0]] if text.frame.target else None,
        "vocab_size": max(source.ids) + 1,
        "decoder_vocab_size": max(ids) + 1,
    }


def _numbered(table: TokenTable) -> dict[str, int]:
    """Return the ids of tokens, in the order of the ids; rows without a token are left out."""
    named = [token for token in table.tokens if token.form and token.id >= 0]
    return {token.form: token.id for token in sorted(named, key=lambda token: token.id)}


def _model(tokenizer: SentencePieceTokenizer) -> bytes:
    (data,) = tokenizer.files("").values()
    return data


def _vocabulary(tokenizer: SentencePieceTokenizer) -> dict[str, int]:
    pieces, _ = read_pieces(_model(tokenizer))
    return {piece.text: number for number, piece in enumerate(pieces)}


def _write_settings(folder: Path, family: str, settings: dict[str, Any]) -> None:
    _write_json(folder / "tokenizer_config.json", {"tokenizer_class": _CLASSES[family], **settings})


def _write_json(path: Path, value: dict[str, Any]) -> None:
    # In ASCII, because the library reads the file in the encoding of the system.
    write_atomic(path, json.dumps(value, indent=1) + "\n")
