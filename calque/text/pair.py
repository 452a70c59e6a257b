"""The text side of a model: a tokenizer for each language, trained together, kept in one folder.

The folder holds `text.json`, which says the kinds, and files of fixed names: nothing in it can point elsewhere.
"""

import hashlib
import itertools
import json
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from calque.config import Config
from calque.errors import UsageError
from calque.text.copying import copy_table, decode_copied, encode_copied
from calque.text.source_ids import SourceIds
from calque.text.subword import SentencePieceConfig, SentencePieceTokenizer, train_sentencepiece
from calque.text.symbols import (
    ByteConfig,
    ByteTokenizer,
    CharacterConfig,
    CharacterTokenizer,
    WordConfig,
    WordTokenizer,
    train_characters,
    train_words,
)
from calque.text.tokenizer import MAX_FILE_BYTES, Tokenizer, damaged, read_limited, write_files

Kind = Literal["sentencepiece", "word", "character", "byte"]
Normalisation = Literal["none", "nfc", "nfkc"]
TokenizerConfig = Annotated[
    SentencePieceConfig | WordConfig | CharacterConfig | ByteConfig,
    Field(discriminator="kind"),
]

_DESCRIPTION = "text.json"
_MAX_DESCRIPTION_BYTES = 64 * 2**10


class TextConfig(Config):
    """Choose how text becomes ids on both sides."""

    copying: bool = False
    """Note for each source token what copying it would give, as the pointer head needs it."""

    joint: bool = False
    """Learn one vocabulary from both sides together, for languages that share a script or when copying matters."""
    normalise: Normalisation = "nfc"
    """Unicode form that the source is brought into before it is tokenized; the target always stays as it is."""
    source: TokenizerConfig = SentencePieceConfig()
    """The tokenizer of the source."""
    target: TokenizerConfig = SentencePieceConfig()
    """The tokenizer of the target."""

    @model_validator(mode="after")
    def _joint_needs_one_config(self) -> "TextConfig":
        if self.joint and self.source != self.target:
            source, target = self.source.model_dump(), self.target.model_dump()
            unlike = [key for key in {**source, **target} if source.get(key) != target.get(key)]
            differences = ", ".join(f"{key} ({source.get(key)} and {target.get(key)})" for key in unlike)
            raise ValueError(
                "joint = true is one vocabulary for both sides, so text.source and text.target must be the same; "
                f"they differ in {differences}. Make them the same, or set text.joint = false."
            )
        return self


class _Description(Config):
    """What `text.json` says; anything else is refused."""

    format: Literal[1] = 1
    joint: bool
    normalise: Normalisation
    source: Kind
    target: Kind
    copying: bool = False


@dataclass(frozen=True)
class TextPair:
    """Hold the tokenizers of both sides (one object where `joint`) and the normalisation of the source.

    `copying`: sources come with what copying each token would give.
    """

    source: Tokenizer
    target: Tokenizer
    joint: bool
    normalisation: Normalisation
    copying: bool = False

    def normalise(self, text: str) -> str:
        """Return a source text in the chosen Unicode form."""
        return _normalise(text, self.normalisation)

    def encode_source(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each source text, normalised first; without BOS and EOS."""
        return self.source.encode_batch([self.normalise(text) for text in texts])

    def encode_target(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each target text; without BOS and EOS."""
        return self.target.encode_batch(texts)

    @property
    def extras(self) -> tuple[str, ...]:
        """Return the names of what `read_sources` gives beside tokens (of `EXTRAS`)."""
        return ("copy_ids",) if self.copying else ()

    def read_sources(self, texts: Sequence[str]) -> list[SourceIds]:
        """Return all that the model needs of each source text."""
        encoded = self.encode_source(texts)
        if not self.copying:
            return [SourceIds(tokens) for tokens in encoded]
        tables = [copy_table(self.source, self.target, self.normalise(text)) for text in texts]
        return [SourceIds(tokens, *table) for tokens, table in zip(encoded, tables, strict=True)]

    def read_pairs(self, sources: Sequence[str], targets: Sequence[str]) -> list[tuple[SourceIds, list[int]]]:
        """Return sources with the ids of their targets, where a form that the source has can stand for a word."""
        read = self.read_sources(sources)
        if not self.copying:
            return list(zip(read, self.encode_target(targets), strict=True))
        return [
            (source, encode_copied(self.target, target, source.forms))
            for source, target in zip(read, targets, strict=True)
        ]

    def write_target(self, ids: Sequence[int], source: SourceIds) -> str:
        """Return the text of target ids that answer `source`, copied forms as they stood in it."""
        return decode_copied(self.target, ids, source.forms)

    def target_pieces(self, ids: Sequence[int], source: SourceIds) -> list[str]:
        """Return a visible label for each of the target ids that answer `source`."""
        size = self.target.vocab_size
        return [source.forms[number - size] if number >= size else self.target.pieces([number])[0] for number in ids]

    def files(self) -> dict[str, bytes]:
        """Return the content of the folder by file name; `text.json`, which makes it complete, comes last."""
        sides = {"joint": self.source} if self.joint else {"source": self.source, "target": self.target}
        files = {file: data for name, tokenizer in sides.items() for file, data in tokenizer.files(name).items()}
        description = {
            "format": 1,
            "joint": self.joint,
            "normalise": self.normalisation,
            "source": self.source.kind,
            "target": self.target.kind,
            **({"copying": True} if self.copying else {}),
        }
        return files | {_DESCRIPTION: (json.dumps(description, indent=2) + "\n").encode()}

    @cached_property
    def fingerprint(self) -> str:
        """Return the SHA-256 of all files: equal exactly when both sides tokenize by the same files."""
        digest = hashlib.sha256()
        for name, data in sorted(self.files().items()):
            digest.update(f"{name}\n{len(data)}\n".encode() + data)
        return digest.hexdigest()

    def save(self, folder: Path) -> None:
        """Write the folder."""
        write_files(folder, self.files())

    @classmethod
    def load(cls, folder: Path) -> "TextPair":
        """Read a folder that `save` wrote; UsageError naming the file that is missing, damaged or hostile."""
        path = folder / _DESCRIPTION
        try:
            description = _Description.model_validate_json(read_limited(path, _MAX_DESCRIPTION_BYTES), strict=True)
        except ValidationError as error:
            raise damaged(path, _first_reason(error)) from None
        if not description.joint:
            source = _load_tokenizer(description.source, folder, "source")
            target = _load_tokenizer(description.target, folder, "target")
            return cls(source, target, False, description.normalise, description.copying)
        if description.source != description.target:
            raise damaged(path, "joint is true, yet source and target are of different kinds")
        both = _load_tokenizer(description.source, folder, "joint")
        return cls(both, both, True, description.normalise, description.copying)


def train_text(
    config: TextConfig, sources: Callable[[], Iterator[str]], targets: Callable[[], Iterator[str]]
) -> TextPair:
    """Learn the tokenizers of both sides from texts that can be read again; pass ≤ 10 MB a side.

    Sources are normalised before they are counted. DataError if a side holds no text.
    """
    normalised = (_normalise(text, config.normalise) for text in sources())
    if config.joint:
        both = train_tokenizer(config.source, itertools.chain(normalised, targets()))
        return TextPair(both, both, True, config.normalise, config.copying)
    source = train_tokenizer(config.source, normalised)
    return TextPair(source, train_tokenizer(config.target, targets()), False, config.normalise, config.copying)


def train_tokenizer(config: TokenizerConfig, texts: Iterable[str]) -> Tokenizer:
    """Learn one tokenizer; UsageError if its file would be too large to be read again."""
    tokenizer = _train_tokenizer(config, texts)
    size = sum(map(len, tokenizer.files("").values()))
    if size > MAX_FILE_BYTES:
        raise UsageError(
            f"the vocabulary of {tokenizer.vocab_size:,} entries takes {size:,} bytes, more than the "
            f"{MAX_FILE_BYTES:,} allowed. Set a smaller vocab_size."
        )
    return tokenizer


def _train_tokenizer(config: TokenizerConfig, texts: Iterable[str]) -> Tokenizer:
    match config:
        case SentencePieceConfig():
            return train_sentencepiece(config, texts)
        case WordConfig():
            return train_words(config, texts)
        case CharacterConfig():
            return train_characters(config, texts)
        case ByteConfig():
            return ByteTokenizer()


def _load_tokenizer(kind: Kind, folder: Path, name: str) -> Tokenizer:
    match kind:
        case "sentencepiece":
            return SentencePieceTokenizer.load(folder / f"{name}.model")
        case "word":
            return WordTokenizer.load(folder / f"{name}.json")
        case "character":
            return CharacterTokenizer.load(folder / f"{name}.json")
        case "byte":
            return ByteTokenizer()


def _normalise(text: str, normalisation: Normalisation) -> str:
    match normalisation:
        case "none":
            return text
        case "nfc":
            return unicodedata.normalize("NFC", text)
        case "nfkc":
            return unicodedata.normalize("NFKC", text)


def _first_reason(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg']}" if place else first["msg"]
