"""The kinds of tokenizers; a new kind needs a line in each list and function of this module."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from calque.errors import UsageError
from calque.text.tokenizers.imported import (
    ImportedBytePairConfig,
    ImportedBytePairTokenizer,
    ImportedSentencePieceConfig,
    ImportedSentencePieceTokenizer,
)
from calque.text.tokenizers.subword import SentencePieceConfig, SentencePieceTokenizer, train_sentencepiece
from calque.text.tokenizers.symbols import (
    ByteConfig,
    ByteTokenizer,
    CharacterConfig,
    CharacterTokenizer,
    WordConfig,
    WordTokenizer,
    train_characters,
    train_words,
)
from calque.text.tokenizers.tokenizer import MAX_FILE_BYTES, Tokenizer

__all__ = ["IMPORTED", "Kind", "SentencePieceConfig", "TokenizerConfig", "load_tokenizer", "train_tokenizer"]

Kind = Literal["sentencepiece", "word", "character", "byte", "imported_sentencepiece", "imported_byte_pair"]
TokenizerConfig = Annotated[
    SentencePieceConfig
    | WordConfig
    | CharacterConfig
    | ByteConfig
    | ImportedSentencePieceConfig
    | ImportedBytePairConfig,
    Field(discriminator="kind"),
]
IMPORTED = ("imported_sentencepiece", "imported_byte_pair")
"""Kinds that are imported with a model and not learned."""


def train_tokenizer(config: TokenizerConfig, texts: Iterable[str]) -> Tokenizer:
    """Learn one tokenizer; UsageError if its file would be too large to read."""
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
        case ImportedSentencePieceConfig() | ImportedBytePairConfig():
            raise UsageError(
                f"text.source.kind or text.target.kind is {config.kind}: such a tokenizer belongs to a model"
                " that calque import huggingface made, and cannot be learned from text. Continue the training of that"
                " model, or choose sentencepiece."
            )


def load_tokenizer(kind: Kind, folder: Path, name: str) -> Tokenizer:
    """Read one tokenizer that was saved in `folder` under `name`; UsageError for a missing or damaged file."""
    match kind:
        case "sentencepiece":
            return SentencePieceTokenizer.load(folder / f"{name}.model")
        case "word":
            return WordTokenizer.load(folder / f"{name}.json")
        case "character":
            return CharacterTokenizer.load(folder / f"{name}.json")
        case "byte":
            return ByteTokenizer()
        case "imported_sentencepiece":
            return ImportedSentencePieceTokenizer.load(folder, name)
        case "imported_byte_pair":
            return ImportedBytePairTokenizer.load(folder, name)
