"""Tokenizers that came with a model made elsewhere: SentencePiece renumbered, and byte-pair encoding of bytes.

Kudo & Richardson 2018; Sennrich et al. 2016 over the bytes of UTF-8 (Radford et al. 2019). They are not learned here.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from calque.config import Config
from calque.errors import UsageError
from calque.ids import UNK
from calque.text.sentencepiece.file import BYTE_PIECES
from calque.text.sentencepiece.foreign import processor_of, read_model
from calque.text.tokenizers.token_table import TokenTable
from calque.text.tokenizers.tokenizer import (
    MAX_ENTRIES,
    MAX_ENTRY_BYTES,
    damaged,
    read_limited,
    visible,
    visible_byte,
    well_formed,
    write_files,
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


class _Imported:
    """Share what does not depend on how text is cut."""

    def __init__(self, table: TokenTable) -> None:
        self.table = table

    @property
    def vocab_size(self) -> int:
        """Return the number of ids."""
        return len(self.table)

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`; what the model does not know is UNK."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text."""
        ids = self.table.forms
        return [[ids.get(form, UNK) for form in forms] for forms in self._cut(texts)]

    def forms(self, text: str) -> list[str]:
        """Return the pieces of `text`, known or not."""
        return self._cut([text])[0]

    def id_of(self, form: str) -> int | None:
        """Return the id of a piece, None where there is none that text can give."""
        return self.table.forms.get(form)

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Return a visible label per id."""
        tokens = self.table.tokens
        return [
            self._label(tokens[number].form) if tokens[number].is_text else self.table.label(number) for number in ids
        ]

    def files(self, name: str) -> dict[str, bytes]:
        """Return the table of tokens and what cuts the text."""
        return {f"{name}.json": self.table.to_json()}

    def save(self, folder: Path, name: str) -> None:
        """Write the files."""
        write_files(folder, self.files(name))

    def _cut(self, texts: Sequence[str]) -> list[list[str]]:
        raise NotImplementedError

    def _label(self, form: str) -> str:
        raise NotImplementedError


class ImportedSentencePieceTokenizer(_Imported):
    """Cut text by a SentencePiece model, which normalises it in its own way, and number pieces by a table.

    Pieces are looked up as text, as Marian and M2M-100 do: a character that the model lacks may be in the table.
    """

    kind = "imported_sentencepiece"

    def __init__(self, model: bytes, table: TokenTable, path: Path | str = "the imported tokenizer") -> None:
        """Take the bytes of a vetted model; UsageError naming `path` where SentencePiece refuses it."""
        super().__init__(table)
        self.model = model
        self._processor = processor_of(model, path)

    @classmethod
    def load(cls, folder: Path, name: str) -> "ImportedSentencePieceTokenizer":
        """Read both files; UsageError naming the one that calque did not write so."""
        path = folder / f"{name}.model"
        model = read_limited(path)
        read_model(model, path)
        return cls(model, TokenTable.load(folder / f"{name}.json"), path)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids` without blanks at its ends; bytes that are no UTF-8 become U+FFFD."""
        text: str = self._processor.decode(self.table.known(ids))
        # A piece that the model itself does not have comes back as it is.
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
    """Cut text into words, their UTF-8 bytes merged in pairs, by the library `tokenizers`; nothing is unknown to it."""

    kind = "imported_byte_pair"

    def __init__(self, merges: Sequence[Merge], table: TokenTable, path: Path | str = "the imported merges") -> None:
        """Take pairs in the order in which they are merged; UsageError where the table lacks one of them."""
        super().__init__(table)
        self.merges = tuple(merges)
        library = _library()
        # Numbered by the table, so that the ids need no second look; specials are none of its words.
        words = {form: number for form, number in table.forms.items() if form}
        missing = next((pair for pair in self.merges if not {*pair, "".join(pair)} <= words.keys()), None)
        if missing:
            raise UsageError(f"{path}: the pair {' '.join(missing)!r} merges to what the vocabulary lacks.")
        self._cutter = library.Tokenizer(library.models.BPE(vocab=words, merges=list(self.merges)))
        self._cutter.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=table.origin.prefix_space)
        self._decoder = library.decoders.ByteLevel()

    @classmethod
    def load(cls, folder: Path, name: str) -> "ImportedBytePairTokenizer":
        """Read both files; UsageError naming the one that calque did not write so."""
        path = folder / f"{name}.merges"
        merges = parse_merges(read_limited(path), path)
        tokenizer = cls(merges, TokenTable.load(folder / f"{name}.json"), path)
        if tokenizer.files(name)[path.name] != path.read_bytes():
            raise damaged(path, "not pairs, one a line")
        return tokenizer

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids`; bytes that are no UTF-8 become U+FFFD."""
        text: str = self._decoder.decode(self.table.known(ids))
        return text

    def files(self, name: str) -> dict[str, bytes]:
        """Return the merges and the table."""
        return {f"{name}.merges": write_merges(self.merges)} | super().files(name)

    def _cut(self, texts: Sequence[str]) -> list[list[str]]:
        # One by one: a batch would take every core, whatever the recipe says.
        return [self._cutter.encode(well_formed(text), add_special_tokens=False).tokens for text in texts]

    def _label(self, form: str) -> str:
        return visible(self._decoder.decode([form]).strip(" "))


def write_merges(merges: Sequence[Merge]) -> bytes:
    """Return the file of merges, as BART has it: a line of the version, then a pair a line."""
    return "".join(f"{line}\n" for line in ["#version: 0.2", *map(" ".join, merges)]).encode()


def parse_merges(data: bytes, path: Path) -> list[Merge]:
    """Return the pairs of such a file; UsageError naming it and the line for anything else."""
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
            raise UsageError(f"{path}:{number}: not a pair with a blank between. Copy the file again.")
        first, _, second = line.partition(" ")
        merges.append((first, second))
    return merges


def _library() -> Any:
    try:
        import tokenizers
        import tokenizers.decoders
        import tokenizers.models
        import tokenizers.pre_tokenizers
    except ImportError:
        raise UsageError(
            "the tokenizer of this model needs the package tokenizers; pip install calque[huggingface] brings it."
        ) from None
    return tokenizers
