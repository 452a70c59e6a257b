"""Read how each Hugging Face class numbers its tokens and frames a source.

If a folder has both a SentencePiece model and `tokenizer.json`, the first is read, since the model was trained with it.
Version 5 of transformers uses another library, which differs in spaces at the ends of a text (Pegasus and mBART-50 keep
one) and does not apply mBART's normalisation table; calque follows the SentencePiece model.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from calque.errors import UsageError
from calque.exchange.huggingface.text_files import (
    FAST,
    as_model,
    read_pairs,
    read_settings,
    read_spm,
    read_unigrams,
    read_vocabulary,
)
from calque.exchange.huggingface.text_languages import LANGUAGES, chosen_languages
from calque.text.sentencepiece.file import CONTROL, UNKNOWN, Piece
from calque.text.sentencepiece.foreign import TEXT_TYPES, ForeignModel
from calque.text.tokenizers.imported import (
    ImportedBytePairTokenizer,
    ImportedSentencePieceTokenizer,
    Merge,
    parse_merges,
)
from calque.text.tokenizers.token_table import Family, Origin, TokenTable
from calque.text.tokenizers.tokenizer import Tokenizer, read_limited

PAD, UNKNOWN_TOKEN, START, END, MASK = "<pad>", "<unk>", "<s>", "</s>", "<mask>"
SPECIAL = (PAD, UNKNOWN_TOKEN, START, END)
_FAIRSEQ = (START, PAD, END, UNKNOWN_TOKEN)
# The first pieces of a SentencePiece model that are already in such a list: unknown, start and end.
_REPLACED = 3
PEGASUS_OFFSET = 103
T5_EXTRA_IDS = 100
Languages = tuple[str, str] | None
Forms = list[tuple[str, bool]]


@dataclass(frozen=True)
class FolderTokens:
    """A tokenizer of a folder: the text of each id and whether it is ordinary text, the id of the unknown token, and
    the function that makes the tokenizer from a table.
    """

    tokens: Mapping[int, tuple[str, bool]]
    unknown: int
    make: Callable[[TokenTable], Tokenizer]


@dataclass(frozen=True)
class FolderText:
    """Both sides of a folder, one object if they are equal, and the frame of a source in Hugging Face's ids.

    `closing`: the id that ends a source instead of </s>; `start`: the id that an answer starts with, if the languages
    decide it; `apart`: whether each side has its own table.
    """

    origin: Origin
    source: FolderTokens
    target: FolderTokens
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    forced: tuple[int, ...] = ()
    closing: int | None = None
    start: int | None = None
    codes: dict[str, int] = field(default_factory=dict)
    apart: bool = False


def read_marian(folder: Path, config: Mapping[str, Any], languages: Languages) -> FolderText:
    """Read `source.spm`, `target.spm`, `vocab.json` and, for two vocabularies, `target_vocab.json`."""
    _no_languages(languages, "If the model has several target languages, put a code before the text, such as >>deu<<.")
    own = read_vocabulary(folder / "vocab.json")
    apart = folder / "target_vocab.json"
    separate = read_settings(folder).get("separate_vocabs", apart.is_file()) is True
    source = _marian_side(read_spm(folder / "source.spm"), own, folder / "vocab.json")
    target_model = read_spm(folder / "target.spm")
    target = _marian_side(target_model, read_vocabulary(apart) if separate else own, apart)
    codes = {form: number for form, number in own.items() if _is_code(form)}
    return FolderText(Origin(family="marian"), source, target, codes=codes, apart=separate)


def _marian_side(model: ForeignModel, vocabulary: dict[str, int], path: Path) -> FolderTokens:
    if UNKNOWN_TOKEN not in vocabulary:
        raise UsageError(f"{path}: there is no {UNKNOWN_TOKEN}. Copy or download the file again.")
    tokens = {number: (form, form not in SPECIAL and not _is_code(form)) for form, number in vocabulary.items()}
    return FolderTokens(tokens, vocabulary[UNKNOWN_TOKEN], partial(ImportedSentencePieceTokenizer, model.to_bytes()))


def _is_code(form: str) -> bool:
    return form.startswith(">>") and form.endswith("<<")


def read_t5(folder: Path, config: Mapping[str, Any], languages: Languages) -> FolderText:
    """Read `spiece.model`; the ids for gaps follow its pieces, in reverse order."""
    _no_languages(languages, "The text names the task, as in the model's training.")
    settings = read_settings(folder)
    extra = _count(settings, "extra_ids", T5_EXTRA_IDS if config.get("model_type") == "t5" else 0)
    model = _spm_or_fast(folder, "spiece.model", lambda pieces: [each for each in pieces if not _is_gap(each.text)])
    extra = max(0, min(extra, int(config["vocab_size"]) - len(model.pieces)))
    gaps: Forms = [(f"<extra_id_{number}>", False) for number in reversed(range(extra))]
    both = _spm_side(model, _forms(model.pieces) + gaps, model.unknown)
    return FolderText(Origin(family="t5", extra_ids=extra, any_space=not model.settings.charsmap), both, both)


def _is_gap(form: str) -> bool:
    return form.startswith("<extra_id_") and form.endswith(">")


def read_pegasus(folder: Path, config: Mapping[str, Any], languages: Languages) -> FolderText:
    """Read `spiece.model`; masks and reserved tokens come after its first two pieces."""
    _no_languages(languages, "Leave the languages out.")
    offset = _count(read_settings(folder), "offset", PEGASUS_OFFSET)
    named: Forms = [(form, False) for form in (PAD, END, "<mask_1>", "<mask_2>")]
    named += [(f"<unk_{number}>", False) for number in range(2, offset)]
    skipped = 2 if offset else 0
    named = named[: offset + skipped]
    model = _spm_or_fast(folder, "spiece.model", lambda pieces: pieces[:skipped] + pieces[len(named) :])
    both = _spm_side(model, named + _forms(model.pieces[skipped:]), model.unknown + offset)
    return FolderText(Origin(family="pegasus", offset=offset), both, both)


def read_mbart(folder: Path, config: Mapping[str, Any], languages: Languages) -> FolderText:
    """Read `sentencepiece.bpe.model`, then languages and a mask, for mBART of 25 or 50 languages."""
    settings = read_settings(folder)
    family: Family = "mbart50" if _has_50_languages(folder, config, settings) else "mbart"
    codes = LANGUAGES[family]
    source, target = chosen_languages(languages, settings, codes)
    behind: Forms = [(code, False) for code in codes] + [(MASK, False)]

    def unframed(pieces: list[Piece]) -> list[Piece]:
        first = [Piece(UNKNOWN_TOKEN, 0.0, UNKNOWN), Piece(START, 0.0, CONTROL), Piece(END, 0.0, CONTROL)]
        return first + [piece for piece in pieces[len(_FAIRSEQ) :] if piece.text not in (*codes, MASK)]

    model = _spm_or_fast(folder, "sentencepiece.bpe.model", unframed)
    forms: Forms = [(form, False) for form in _FAIRSEQ] + _forms(model.pieces[_REPLACED:]) + behind
    both = _spm_side(model, forms, _FAIRSEQ.index(UNKNOWN_TOKEN))
    any_space = family == "mbart" and not model.settings.charsmap
    origin = Origin(family=family, source=source, target=target, any_space=any_space)
    first = len(forms) - len(behind)
    source_id, target_id = (first + codes.index(code) for code in (source, target))
    if family == "mbart50":
        return FolderText(origin, both, both, before=(source_id,), forced=(target_id,))
    # Its sources end with </s> and the language, so the language has the place of </s> in other classes.
    return FolderText(origin, both, both, after=(_FAIRSEQ.index(END),), closing=source_id, start=target_id)


def _has_50_languages(folder: Path, config: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    """Return which of the two it is: by the name of the tokenizer's class, the ids after the pieces, or a token."""
    named = str(settings.get("tokenizer_class"))
    if named.startswith("MBart"):
        return named.startswith("MBart50")
    path, codes = folder / "sentencepiece.bpe.model", LANGUAGES["mbart50"]
    if path.is_file():
        return int(config["vocab_size"]) >= len(read_spm(path).pieces) + len(codes)
    return (folder / FAST).is_file() and any(piece.text == codes[-1] for piece in read_unigrams(folder / FAST)[0])


def read_m2m_100(folder: Path, config: Mapping[str, Any], languages: Languages) -> FolderText:
    """Read `sentencepiece.bpe.model` and `vocab.json`; the languages are numbered after its tokens."""
    settings = read_settings(folder)
    vocabulary = read_vocabulary(folder / "vocab.json")
    if UNKNOWN_TOKEN not in vocabulary:
        raise UsageError(f"{folder / 'vocab.json'}: it has no {UNKNOWN_TOKEN}. Copy or download the file again.")
    name = "wmt21" if settings.get("language_codes") == "wmt21" else "m2m100"
    codes = LANGUAGES[name]
    source, target = chosen_languages(languages, settings, codes)
    model = read_spm(folder / "sentencepiece.bpe.model")
    tokens = {number: (form, form not in SPECIAL) for form, number in vocabulary.items()}
    # As in the library: numbered from the number of tokens, not from the highest id.
    first = len(vocabulary)
    tokens |= {first + place: (f"__{code}__", False) for place, code in enumerate(codes)}
    both = FolderTokens(tokens, vocabulary[UNKNOWN_TOKEN], partial(ImportedSentencePieceTokenizer, model.to_bytes()))
    origin = Origin(family="m2m_100", source=source, target=target, languages=name, offset=first)
    source_id, target_id = (first + codes.index(code) for code in (source, target))
    return FolderText(origin, both, both, before=(source_id,), forced=(target_id,))


def read_bart(folder: Path, config: Mapping[str, Any], languages: Languages) -> FolderText:
    """Read `vocab.json` and `merges.txt`, or `tokenizer.json`; a source begins with <s>."""
    _no_languages(languages, "Leave the languages out.")
    settings = read_settings(folder)
    path = folder / "merges.txt"
    if path.is_file() and (folder / "vocab.json").is_file():
        vocabulary, merges, space = (
            read_vocabulary(folder / "vocab.json"),
            parse_merges(read_limited(path), path),
            False,
        )
    elif (folder / FAST).is_file():
        vocabulary, written, space, path = read_pairs(folder)
        lines = "\n".join(" ".join(map(str, each)) if isinstance(each, list) else str(each) for each in written)
        merges = parse_merges(lines.encode(errors="replace"), path)
    else:
        raise UsageError(f"{folder}: there is no tokenizer. The model needs vocab.json and merges.txt, or {FAST}.")
    space = settings.get("add_prefix_space", space) is True
    special = {*SPECIAL, MASK, *(form for form in vocabulary if form.startswith("madeupword"))}
    tokens = {number: (form, form not in special) for form, number in vocabulary.items()}
    if not {START, UNKNOWN_TOKEN} <= vocabulary.keys():
        raise UsageError(f"{path}: the vocabulary has no {START} or no {UNKNOWN_TOKEN}, which BART needs.")
    both = FolderTokens(tokens, vocabulary[UNKNOWN_TOKEN], partial(_byte_pairs, merges, path))
    return FolderText(Origin(family="bart", prefix_space=space), both, both, before=(vocabulary[START],))


def _byte_pairs(merges: list[Merge], path: Path, table: TokenTable) -> Tokenizer:
    return ImportedBytePairTokenizer(merges, table, path)


def _spm_or_fast(folder: Path, name: str, unframed: Callable[[list[Piece]], list[Piece]]) -> ForeignModel:
    """Return the SentencePiece model, or one made of the pieces of tokenizer.json that `unframed` keeps."""
    if (folder / name).is_file():
        return read_spm(folder / name)
    if not (folder / FAST).is_file():
        raise UsageError(
            f"{folder}: there is no tokenizer. The model needs {name}, or {FAST}; copy or download the whole folder."
        )
    pieces, settings = read_unigrams(folder / FAST)
    return as_model(unframed(pieces), settings, folder / FAST)


def _spm_side(model: ForeignModel, forms: Forms, unknown: int) -> FolderTokens:
    return FolderTokens(dict(enumerate(forms)), unknown, partial(ImportedSentencePieceTokenizer, model.to_bytes()))


def _forms(pieces: list[Piece]) -> Forms:
    return [(piece.text, piece.type in TEXT_TYPES) for piece in pieces]


def _count(settings: Mapping[str, Any], key: str, default: int) -> int:
    value = settings.get(key, default)
    if type(value) is not int or not 0 <= value <= 100_000:
        raise UsageError(f"tokenizer_config.json: {key} must be a number up to 100,000, but is {value!r}.")
    return value


def _no_languages(languages: Languages, hint: str) -> None:
    if languages is not None:
        raise UsageError(f"languages were given, but this model has no tokens for them. {hint}")
