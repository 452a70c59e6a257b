"""Lossless SentencePiece subwords, learned from raw text of any script.

Kudo & Richardson 2018 (SentencePiece); Kudo 2018 (unigram); Sennrich et al. 2016 (byte-pair encoding).
"""

import io
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import sentencepiece
from pydantic import Field

from calque.config import Config
from calque.errors import DataError, UsageError
from calque.ids import NUM_SPECIALS, SPECIALS
from calque.system.forks import call_in_child
from calque.text.scripts import count_characters
from calque.text.sentencepiece.file import BYTE_PIECES, Algorithm, check_model, rewrite_model
from calque.text.tokenizers.tokenizer import MAX_ENTRIES, Tokenizer, read_limited, visible, visible_byte

BLANK = "\u2581"
# SentencePiece writes a space as ▁, so it cannot distinguish a space from a ▁ of the text. Two noncharacters, which
# text should not contain, replace it: ▁ becomes MARK, and MARK and ESCAPE in a text become ESCAPE with a digit.
_MARK, _ESCAPE = "\ufdd0", "\ufdd1"
_TO_INNER = {BLANK: _MARK, _MARK: _ESCAPE + "0", _ESCAPE: _ESCAPE + "1"}
_TO_OUTER = {inner: outer for outer, inner in _TO_INNER.items()}
_OUTER = re.compile(f"[{BLANK}{_MARK}{_ESCAPE}\ud800-\udfff]")
_INNER = re.compile(f"{_MARK}|{_ESCAPE}[01]")

# The trainer skips texts that contain its sign for unknown forms, and zero bytes end a string in C++.
_ZERO, _UNKNOWN = "\0", "\u2585"
# No piece crosses one of the special names, so one replaces each character that gets no piece.
_BORDER = SPECIALS[0]
_CHUNK = 1000
MANY_TEXTS = 500
_BLOCK_CHARACTERS = 1 << 16
_MAX_SENTENCE_BYTES = 2 * len(_BORDER) * _CHUNK
# In an alphabet larger than this (Chinese, Japanese) the rarest 0.05 % of all characters are spelled in bytes.
_LARGE_ALPHABET, _COVERAGE = 1000, 0.9995


class SentencePieceConfig(Config):
    """Use subwords learned by SentencePiece."""

    kind: Literal["sentencepiece"] = "sentencepiece"
    """Subwords learned by SentencePiece from raw text."""
    algorithm: Algorithm = "unigram"
    """Algorithm that learns the pieces: unigram language model (unigram) or byte-pair encoding (bpe)."""
    vocab_size: int = Field(default=8000, ge=1, le=MAX_ENTRIES)
    """Maximum number of pieces, including special ones; small data have fewer, and a large alphabet may need more."""
    byte_fallback: bool = True
    """Whether unknown characters are encoded as UTF-8 bytes (256 pieces); if not, they are <unk>."""


class SentencePieceTokenizer(Tokenizer):
    """Subwords of a trained SentencePiece model; lossless if the model has byte pieces."""

    kind = "sentencepiece"

    def __init__(self, model: bytes) -> None:
        """Take the bytes of a model; those from a file must have passed `check_model`."""
        self._model = model
        # Used for many texts at once; the number does not affect the ids.
        self.num_threads = 1
        self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)

    @classmethod
    def load(cls, path: Path) -> "SentencePieceTokenizer":
        """Read a model file; UsageError naming it if it is not one that calque wrote."""
        data = read_limited(path)
        check_model(data, path)
        return cls(data)

    @property
    def vocab_size(self) -> int:
        """Return the number of pieces."""
        return int(self._processor.vocab_size())

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text; `MANY_TEXTS` or more are encoded by `num_threads` threads."""
        threads = self.num_threads if len(texts) >= MANY_TEXTS else 1
        ids: list[list[int]] = []
        for block in _blocks(map(_to_inner, texts)):
            ids += self._processor.encode(block, out_type=int, num_threads=threads)
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids`; bytes that are not UTF-8 become U+FFFD."""
        text: str = self._processor.decode([int(number) for number in ids if number >= NUM_SPECIALS])
        return _to_outer(text)

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Return the pieces without the ▁ for spaces, and a byte piece as its character or number."""
        return [_label(self._processor.id_to_piece(int(number))) for number in ids]

    def forms(self, text: str) -> list[str]:
        """Return the pieces of `text`, with ▁ for a space before them."""
        return [self._processor.id_to_piece(number) for number in self.encode(text)]

    def id_of(self, form: str) -> int | None:
        """Return the id of a piece, None if there is no such piece."""
        number = int(self._processor.piece_to_id(form))
        return number if number >= NUM_SPECIALS else None

    def files(self, name: str) -> dict[str, bytes]:
        """Return the model file."""
        return {f"{name}.model": self._model}


def train_sentencepiece(config: SentencePieceConfig, texts: Iterable[str]) -> SentencePieceTokenizer:
    """Learn pieces from `texts`, at most 10 MB, which are kept in memory; the same texts give the same bytes.

    There are fewer pieces than requested if the data has no more, and more if the alphabet alone needs them. A child
    process runs the trainer, so a signal ends the training at once.
    """
    sentences = list(_sentences(texts))
    if not sentences:
        raise DataError("there is no text to learn a vocabulary from.")
    if config.byte_fallback:
        rare = dict.fromkeys(map(ord, _spelled_in_bytes(sentences, config.vocab_size)), _BORDER)
        # An empty table would still look up every character.
        sentences = [sentence.translate(rare) for sentence in sentences] if rare else sentences
    vocab_size = max(config.vocab_size, NUM_SPECIALS + len(BYTE_PIECES) * config.byte_fallback + 1)
    for _ in range(3):
        try:
            trained = call_in_child(partial(_train, config, sentences, vocab_size), "learning a vocabulary")
            return SentencePieceTokenizer(rewrite_model(trained, config.algorithm))
        except RuntimeError as error:
            vocab_size = _possible_size(error)
    raise AssertionError("SentencePiece refused the size that it required")


def _train(config: SentencePieceConfig, sentences: Iterable[str], vocab_size: int) -> bytes:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences),
        model_writer=model,
        model_type=config.algorithm,
        vocab_size=vocab_size,
        hard_vocab_limit=False,
        byte_fallback=config.byte_fallback,
        character_coverage=1.0,
        # The default rule turns ， into a comma and drops spaces, which decoding cannot undo.
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        max_sentence_length=_MAX_SENTENCE_BYTES,
        pad_id=0,
        unk_id=1,
        bos_id=2,
        eos_id=3,
        num_threads=1,
        minloglevel=3,
    )
    return model.getvalue()


def _possible_size(error: RuntimeError) -> int:
    """Return the size that the trainer's message requires: a minimum ("10 vs 18") or a maximum ("<= 120")."""
    found = re.search(r"required_chars\D+\d+ vs (\d+)|value <= (\d+)", str(error))
    size = int(found[1] or found[2]) if found else 0
    if not 0 < size <= MAX_ENTRIES:
        raise UsageError(f"SentencePiece cannot learn a vocabulary from this text: {error}") from None
    return size


def _sentences(texts: Iterable[str]) -> Iterator[str]:
    """Yield the texts in chunks of the length that the trainer accepts: it skips longer ones silently."""
    for text in texts:
        for part in _to_inner(text).replace(_UNKNOWN, _ZERO).split(_ZERO):
            start = 0
            while len(part) - start > _CHUNK:
                blank = part.rfind(" ", start + 1, start + _CHUNK)
                end = blank if blank > 0 else start + _CHUNK
                yield part[start:end]
                # The space at the border is left out, because the trainer adds one before each chunk.
                start = end + (blank > 0)
            if part[start:]:
                yield part[start:]


def _spelled_in_bytes(sentences: Iterable[str], vocab_size: int) -> list[str]:
    """Return the rarest characters, which get no piece.

    At most half of the free pieces are single characters, so that a small vocabulary still has some words.
    """
    counts = count_characters(sentences)
    # The space always has a piece, because the trainer adds one before every sentence.
    counts.pop(" ", None)
    common = sorted(counts, key=lambda char: (-counts[char], char))
    kept = max(0, vocab_size - NUM_SPECIALS - len(BYTE_PIECES) - 1) // 2
    if len(common) > _LARGE_ALPHABET:
        sums = itertools.accumulate(counts[char] for char in common)
        kept = min(kept, sum(covered < _COVERAGE * counts.total() for covered in sums) + 1)
    return common[kept:]


def _blocks(texts: Iterable[str]) -> Iterator[list[str]]:
    """Yield the texts in blocks that take a fraction of a second: no signal is handled during a call into C++."""
    block: list[str] = []
    size = 0
    for text in texts:
        block.append(text)
        size += len(text)
        if size >= _BLOCK_CHARACTERS:
            yield block
            block, size = [], 0
    if block:
        yield block


def _to_inner(text: str) -> str:
    if text.isascii() or not _OUTER.search(text):
        return text
    return _OUTER.sub(lambda found: _TO_INNER.get(found[0], "\ufffd"), text)


def _to_outer(text: str) -> str:
    return _INNER.sub(lambda found: _TO_OUTER[found[0]], text)


def _label(piece: str) -> str:
    if piece in BYTE_PIECES:
        return visible_byte(int(piece[1:-1], 16))
    return visible(_to_outer(piece.replace(BLANK, " ").strip(" ")))
