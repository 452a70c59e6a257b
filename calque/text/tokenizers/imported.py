"""Tokenizers of imported models: SentencePiece with other numbers, and byte-pair encoding of bytes.

Kudo & Richardson 2018; Sennrich et al. 2016 over the bytes of UTF-8 (Radford et al. 2019). They are not learned.
"""

import re
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Literal

from calque.config import Config
from calque.errors import UsageError
from calque.ids import UNK
from calque.text.sentencepiece.file import BYTE_PIECES
from calque.text.sentencepiece.foreign import processor_of, read_model
from calque.text.tokenizers.token_table import TokenTable
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

BLANK = "\u2581"
Merge = tuple[str, str]
# The white space of Unicode; Python's own \s has four more.
_SPACE = re.compile("[\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]")
_MERGE = re.compile(r"[^ \n]+ [^ \n]+")


class ImportedSentencePieceConfig(Config):
    """A SentencePiece model that was trained elsewhere."""

    kind: Literal["imported_sentencepiece"] = "imported_sentencepiece"
    """Pieces of a model that `calque import huggingface` has read; they are not learned from text."""


class ImportedBytePairConfig(Config):
    """A byte-level byte-pair encoding that was learned elsewhere."""

    kind: Literal["imported_byte_pair"] = "imported_byte_pair"
    """Byte pairs of a model that `calque import huggingface` has read; they are not learned from text."""


class _Imported(Tokenizer):
    """Base of the imported tokenizers; a subclass defines how text is cut."""

    def __init__(self, table: TokenTable) -> None:
        self.table = table

    @property
    def vocab_size(self) -> int:
        """Return the number of ids."""
        return len(self.table)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text; forms unknown to the model are UNK."""
        ids = self.table.forms
        return [[ids.get(form, UNK) for form in forms] for forms in self._cut(texts)]

    def forms(self, text: str) -> list[str]:
        """Return the pieces of `text`, known or not."""
        return self._cut([text])[0]

    def id_of(self, form: str) -> int | None:
        """Return the id of a piece, None if text cannot have such a piece."""
        return self.table.forms.get(form)

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Return a visible label for each id."""
        tokens = self.table.tokens
        return [
            self._label(tokens[number].form) if tokens[number].is_text else self.table.label(number) for number in ids
        ]

    def files(self, name: str) -> dict[str, bytes]:
        """Return the file of the table of tokens."""
        return {f"{name}.json": self.table.to_json()}

    @abstractmethod
    def _cut(self, texts: Sequence[str]) -> list[list[str]]:
        """Return the pieces of each text."""

    @abstractmethod
    def _label(self, form: str) -> str:
        """Return a visible label of a piece."""


class ImportedSentencePieceTokenizer(_Imported):
    """Pieces of a SentencePiece model, which has its own normalisation, numbered by a table.

    Pieces are looked up as text, as in Marian and M2M-100: a character that the model lacks may be in the table.
    """

    kind = "imported_sentencepiece"

    def __init__(self, model: bytes, table: TokenTable, path: Path | str = "the imported tokenizer") -> None:
        """Use the bytes of a checked model; UsageError naming `path` if SentencePiece refuses it."""
        super().__init__(table)
        self.model = model
        self._processor = processor_of(model, path)

    @classmethod
    def load(cls, folder: Path, name: str) -> "ImportedSentencePieceTokenizer":
        """Read both files; UsageError naming the one that calque did not write."""
        path = folder / f"{name}.model"
        model = read_limited(path)
        read_model(model, path)
        return cls(model, TokenTable.load(folder / f"{name}.json"), path)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids` without spaces at its ends; bytes that are not UTF-8 become U+FFFD."""
        text: str = self._processor.decode(self.table.known(ids))
        # A piece that the model does not have is decoded unchanged, with its ▁.
        return text.replace(BLANK, " ").strip(" ")

    def files(self, name: str) -> dict[str, bytes]:
        """Return the model and the table."""
        return {f"{name}.model": self.model} | super().files(name)

    def _cut(self, texts: Sequence[str]) -> list[list[str]]:
        inner = [well_formed(text) for text in texts]
        if self.table.origin.any_space:
            inner = [_SPACE.sub(" ", text) for text in inner]
        cut: list[list[str]] = self._processor.encode(inner, out_type=str, num_threads=1)
        return cut

    def _label(self, form: str) -> str:
        if form in BYTE_PIECES:
            return visible_byte(int(form[1:-1], 16))
        return visible(form.replace(BLANK, " ").strip(" "))


class ImportedBytePairTokenizer(_Imported):
    """Words whose UTF-8 bytes are merged in pairs, by the library `tokenizers`; no text is unknown."""

    kind = "imported_byte_pair"

    def __init__(self, merges: Sequence[Merge], table: TokenTable, path: Path | str = "the imported merges") -> None:
        """Use pairs in the order in which they are merged; UsageError if the table lacks one of them."""
        super().__init__(table)
        self.merges = tuple(merges)
        library = _library()
        # The words have the ids of the table; special tokens are not among them.
        words = {form: number for form, number in table.forms.items() if form}
        missing = next((pair for pair in self.merges if not {*pair, "".join(pair)} <= words.keys()), None)
        if missing:
            raise UsageError(f"{path}: the pair {' '.join(missing)!r} merges to a piece that is not in the vocabulary.")
        self._cutter = library.Tokenizer(library.models.BPE(vocab=words, merges=list(self.merges)))
        self._cutter.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=table.origin.prefix_space)
        self._decoder = library.decoders.ByteLevel()

    @classmethod
    def load(cls, folder: Path, name: str) -> "ImportedBytePairTokenizer":
        """Read both files; UsageError naming the one that calque did not write."""
        path = folder / f"{name}.merges"
        merges = parse_merges(read_limited(path), path)
        tokenizer = cls(merges, TokenTable.load(folder / f"{name}.json"), path)
        if tokenizer.files(name)[path.name] != path.read_bytes():
            raise damaged(path, "not pairs, one per line")
        return tokenizer

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids`; bytes that are not UTF-8 become U+FFFD."""
        text: str = self._decoder.decode(self.table.known(ids))
        return text

    def files(self, name: str) -> dict[str, bytes]:
        """Return the merges and the table."""
        return {f"{name}.merges": write_merges(self.merges)} | super().files(name)

    def _cut(self, texts: Sequence[str]) -> list[list[str]]:
        # Texts are encoded one by one, because a batch would use all cores and ignore the recipe.
        return [self._cutter.encode(well_formed(text), add_special_tokens=False).tokens for text in texts]

    def _label(self, form: str) -> str:
        return visible(self._decoder.decode([form]).strip(" "))


def write_merges(merges: Sequence[Merge]) -> bytes:
    """Return the file of merges in BART's form: a line with the version, then one pair per line."""
    return "".join(f"{line}\n" for line in ["#version: 0.2", *map(" ".join, merges)]).encode()


def parse_merges(data: bytes, path: Path) -> list[Merge]:
    """Return the pairs of a file that `write_merges` wrote; UsageError naming file and line for other content."""
    try:
        lines = data.decode().split("\n")
    except UnicodeDecodeError:
        raise UsageError(f"{path}: not in UTF-8. Copy the file again.") from None
    if len(lines) > MAX_ENTRIES:
        raise UsageError(f"{path}: more than {MAX_ENTRIES:,} lines.")
    merges = []
    for number, line in enumerate(lines, 1):
        if not line or (number == 1 and line.startswith("#version")):
            continue
        if not _MERGE.fullmatch(line) or len(line.encode()) > 2 * MAX_ENTRY_BYTES:
            raise UsageError(f"{path}:{number}: not a pair with a space between. Copy the file again.")
        first, _, second = line.partition(" ")
        merges.append((first, second))
    return merges


def _library() -> ModuleType:
    """Return the library `tokenizers`; UsageError if it is not installed."""
    try:
        import tokenizers
        import tokenizers.decoders
        import tokenizers.models
        import tokenizers.pre_tokenizers
    except ImportError:
        raise UsageError(
            "the tokenizer of this model needs the package tokenizers: pip install calque[huggingface]."
        ) from None
    return tokenizers
