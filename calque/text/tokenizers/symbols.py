"""Tokenizers that are learned by counting: words between whitespace, characters, bytes.

They suit tasks with given symbols (phones, commands, formal languages) and are plain baselines.
"""

import itertools
import json
import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from calque.config import Config, Count
from calque.errors import DataError
from calque.ids import NUM_SPECIALS, SPECIALS, UNK
from calque.text.tokenizers.tokenizer import (
    MAX_ENTRIES,
    MAX_ENTRY_BYTES,
    Tokenizer,
    damaged,
    read_limited,
    visible,
    visible_byte,
    well_formed,
)

_BYTE = re.compile("<0x[0-9A-F]{2}>")


class WordConfig(Config):
    """Use symbols separated by whitespace: words, phones, commands."""

    kind: Literal["word"] = "word"
    """Symbols separated by whitespace; decoded text has one space between them."""
    vocab_size: int = Field(default=30000, ge=NUM_SPECIALS + 1, le=MAX_ENTRIES)
    """Maximum size of the vocabulary, including four special tokens; rarer words are <unk>."""
    min_count: Count = 1
    """Minimum number of occurrences of a word in the vocabulary."""


class CharacterConfig(Config):
    """Use single characters (Unicode code points)."""

    kind: Literal["character"] = "character"
    """Single characters, including spaces."""
    vocab_size: int = Field(default=10000, ge=NUM_SPECIALS + 1, le=MAX_ENTRIES)
    """Maximum size of the vocabulary, including four special tokens; rarer characters are <unk>."""


class ByteConfig(Config):
    """Use the bytes of UTF-8: 260 ids for every script."""

    kind: Literal["byte"] = "byte"
    """Bytes of UTF-8: a fixed vocabulary, in which no text is unknown."""


class Vocabulary:
    """A map from the forms of symbols to ids and back; unknown forms are UNK."""

    def __init__(self, forms: Sequence[str]) -> None:
        """Number `forms`, which are all different, from 4."""
        self.forms = tuple(forms)
        self._ids = {form: number for number, form in enumerate(self.forms, start=NUM_SPECIALS)}

    def __len__(self) -> int:
        """Return the number of ids, including special ones."""
        return NUM_SPECIALS + len(self.forms)

    def ids(self, forms: Iterable[str]) -> list[int]:
        """Return the id of each form."""
        return [self._ids.get(form, UNK) for form in forms]

    def id_of(self, form: str) -> int | None:
        """Return the id of a form, None for an unknown one."""
        return self._ids.get(form)

    def known(self, ids: Sequence[int]) -> list[str]:
        """Return the forms of `ids` without the special ones."""
        return [self.forms[number - NUM_SPECIALS] for number in ids if number >= NUM_SPECIALS]

    def labels(self, ids: Sequence[int]) -> list[str]:
        """Return a visible label for each id."""
        names = (SPECIALS[number] if number < NUM_SPECIALS else self.forms[number - NUM_SPECIALS] for number in ids)
        return [visible(name) for name in names]

    def to_json(self) -> bytes:
        """Return the file: a JSON list of strings, one per line."""
        lines = ",\n".join(json.dumps(form, ensure_ascii=False) for form in self.forms)
        return f"[\n{lines}\n]\n".encode()

    @classmethod
    def load(cls, path: Path) -> "Vocabulary":
        """Read a file that `to_json` wrote; UsageError naming the file and the entry for any other file."""
        data = read_limited(path)
        # Lines are counted first and read one by one, because nested brackets could fill the memory.
        if data.count(b"\n") > MAX_ENTRIES + 2:
            raise damaged(path, f"more than {MAX_ENTRIES:,} entries")
        lines = data.split(b"\n")
        vocabulary = cls(_distinct([_form(line, path, number) for number, line in enumerate(lines[1:-2], 1)], path))
        if vocabulary.to_json() != data:
            raise damaged(path, "not a list of strings, one per line")
        return vocabulary


class VocabularyTokenizer(Tokenizer):
    """Base of the tokenizers of whole symbols; a subclass defines how text is cut and joined."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        """Use the known symbols of `vocabulary`."""
        self.vocabulary = vocabulary

    @property
    def vocab_size(self) -> int:
        """Return the number of ids, including special ones."""
        return len(self.vocabulary)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of the symbols of each text; unknown ones are UNK."""
        return [self.vocabulary.ids(self._cut(text)) for text in texts]

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Return the symbols with visible spaces, and special ids by name."""
        return self.vocabulary.labels(ids)

    def forms(self, text: str) -> list[str]:
        """Return the symbols of `text`, known or not."""
        return list(self._cut(text))

    def id_of(self, form: str) -> int | None:
        """Return the id of a symbol, None for an unknown one."""
        return self.vocabulary.id_of(form)

    def files(self, name: str) -> dict[str, bytes]:
        """Return the vocabulary file."""
        return {f"{name}.json": self.vocabulary.to_json()}

    @abstractmethod
    def _cut(self, text: str) -> Iterable[str]:
        """Return the symbols of a text."""


class WordTokenizer(VocabularyTokenizer):
    """Symbols separated by whitespace; decoded text has one space between them."""

    kind = "word"

    @classmethod
    def load(cls, path: Path) -> "WordTokenizer":
        """Read the vocabulary; UsageError if an entry could not be a word."""
        vocabulary = Vocabulary.load(path)
        for form in vocabulary.forms:
            if form.split() != [form]:
                raise damaged(path, f"the entry {form!r} is not one word")
        return cls(vocabulary)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the words with one space between them."""
        return " ".join(self.vocabulary.known(ids))

    def _cut(self, text: str) -> Iterable[str]:
        return text.split()


class CharacterTokenizer(VocabularyTokenizer):
    """Single characters; lossless for known ones."""

    kind = "character"

    @classmethod
    def load(cls, path: Path) -> "CharacterTokenizer":
        """Read the vocabulary; UsageError if an entry is not one character."""
        vocabulary = Vocabulary.load(path)
        for form in vocabulary.forms:
            if len(form) != 1:
                raise damaged(path, f"the entry {form!r} is not one character")
        return cls(vocabulary)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the characters without anything between them."""
        return "".join(self.vocabulary.known(ids))

    def _cut(self, text: str) -> Iterable[str]:
        return text


class ByteTokenizer(Tokenizer):
    """The bytes of UTF-8: lossless for every text, and independent of the data."""

    kind = "byte"
    vocab_size = NUM_SPECIALS + 256

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the bytes of each text, numbered from 4."""
        return [[NUM_SPECIALS + byte for byte in well_formed(text).encode()] for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text; bytes that are not UTF-8 become U+FFFD."""
        return bytes(number - NUM_SPECIALS for number in ids if number >= NUM_SPECIALS).decode(errors="replace")

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Return the ASCII character or the number of each byte; special ids by name."""
        return [SPECIALS[number] if number < NUM_SPECIALS else visible_byte(number - NUM_SPECIALS) for number in ids]

    def forms(self, text: str) -> list[str]:
        """Return each byte as SentencePiece names it, such as <0x41>."""
        return [f"<0x{byte:02X}>" for byte in well_formed(text).encode()]

    def id_of(self, form: str) -> int | None:
        """Return the id of the byte of that name, None for another text."""
        return NUM_SPECIALS + int(form[3:5], 16) if _BYTE.fullmatch(form) else None

    def files(self, name: str) -> dict[str, bytes]:
        """Return no file: the kind defines this tokenizer."""
        return {}


def train_words(config: WordConfig, texts: Iterable[str]) -> WordTokenizer:
    """Return a tokenizer of the most frequent words."""
    counts = Counter(itertools.chain.from_iterable(well_formed(text).split() for text in texts))
    return WordTokenizer(_most_frequent(counts, config.vocab_size, config.min_count))


def train_characters(config: CharacterConfig, texts: Iterable[str]) -> CharacterTokenizer:
    """Return a tokenizer of the most frequent characters."""
    counts = Counter(itertools.chain.from_iterable(well_formed(text) for text in texts))
    return CharacterTokenizer(_most_frequent(counts, config.vocab_size, min_count=1))


def _most_frequent(counts: Counter[str], vocab_size: int, min_count: int) -> Vocabulary:
    kept = [form for form, count in counts.items() if count >= min_count and len(form.encode()) <= MAX_ENTRY_BYTES]
    if not kept:
        if not counts:
            raise DataError("there is no text to learn a vocabulary from.")
        most = max(counts.values())
        if most < min_count:
            raise DataError(
                f"min_count of text.source or text.target is {min_count}, but the most frequent word of that side"
                f" occurs {most:,} times; lower min_count."
            )
        raise DataError(f"every word that is frequent enough is longer than {MAX_ENTRY_BYTES} bytes.")
    # Forms of equal counts are sorted, so that their numbers do not depend on the order of the data.
    kept.sort(key=lambda form: (-counts[form], form))
    return Vocabulary(kept[: vocab_size - NUM_SPECIALS])


def _form(line: bytes, path: Path, number: int) -> str:
    if len(line) > 6 * MAX_ENTRY_BYTES + 3:
        raise damaged(path, f"entry {number} is longer than {MAX_ENTRY_BYTES} bytes")
    try:
        form = json.loads(line.removesuffix(b",").decode())
    except (ValueError, RecursionError):
        raise damaged(path, f"entry {number} is not a string") from None
    if not isinstance(form, str) or well_formed(form) != form or not 0 < len(form.encode()) <= MAX_ENTRY_BYTES:
        raise damaged(path, f"entry {number} is not a string of 1 to {MAX_ENTRY_BYTES} bytes")
    return form


def _distinct(forms: list[str], path: Path) -> list[str]:
    if len(set(forms)) != len(forms):
        twice, _ = Counter(forms).most_common(1)[0]
        raise damaged(path, f"the entry {twice!r} occurs twice")
    return forms
