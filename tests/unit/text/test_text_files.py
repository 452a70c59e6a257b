"""A model file is vetted before the C++ library sees it: whatever is wrong with it, the answer names the file."""

import os
import random
import struct
from pathlib import Path

import pytest

from calque.errors import UsageError
from calque.text.sentencepiece.file import BYTE, CONTROL, NORMAL, UNKNOWN, Piece, check_model, write_model
from calque.text.tokenizers.subword import SentencePieceConfig, SentencePieceTokenizer, train_sentencepiece
from calque.text.tokenizers.tokenizer import MAX_ENTRY_BYTES, MAX_FILE_BYTES

RESERVED = [
    Piece("<pad>", 0.0, CONTROL),
    Piece("<unk>", 0.0, UNKNOWN),
    Piece("<s>", 0.0, CONTROL),
    Piece("</s>", 0.0, CONTROL),
]
BYTES = [Piece(f"<0x{byte:02X}>", 0.0, BYTE) for byte in range(256)]
WORDS = [Piece("▁", -1.0, NORMAL), Piece("▁a", -2.0, NORMAL), Piece("a", -3.0, NORMAL)]


@pytest.fixture(scope="module")
def trained() -> bytes:
    config = SentencePieceConfig(vocab_size=300)
    return train_sentencepiece(config, ["the cat sat on the mat", "the dog sat on the cat"]).files("x")["x.model"]


def refused(data: bytes, folder: Path) -> None:
    path = folder / "source.model"
    path.write_bytes(data)
    with pytest.raises(UsageError, match=r"source\.model") as error:
        SentencePieceTokenizer.load(path)
    assert len(str(error.value)) < 600


@pytest.mark.parametrize("reserved", [RESERVED, RESERVED + BYTES])
def test_a_model_written_by_hand_is_taken(reserved: list[Piece], tmp_path: Path) -> None:
    path = tmp_path / "source.model"
    path.write_bytes(write_model(reserved + WORDS, "unigram"))
    tokenizer = SentencePieceTokenizer.load(path)
    assert tokenizer.vocab_size == len(reserved) + 3
    assert tokenizer.decode(tokenizer.encode("a aa")) == "a aa"


WRONG_PIECES = {
    "huge piece": [*RESERVED, *WORDS, Piece("x" * 1_000_000, -4.0, NORMAL)],
    "long piece": [*RESERVED, *WORDS, Piece("x" * (MAX_ENTRY_BYTES + 1), -4.0, NORMAL)],
    "empty piece": [*RESERVED, *WORDS, Piece("", -4.0, NORMAL)],
    "zero byte": [*RESERVED, *WORDS, Piece("a\0", -4.0, NORMAL)],
    "twice": [*RESERVED, *WORDS, WORDS[1]],
    "special twice": [*RESERVED, *WORDS, Piece("<s>", -4.0, NORMAL)],
    "nan": [*RESERVED, *WORDS, Piece("b", float("nan"), NORMAL)],
    "infinite": [*RESERVED, *WORDS, Piece("b", float("-inf"), NORMAL)],
    "other order": [RESERVED[1], RESERVED[0], *RESERVED[2:], *WORDS],
    "other names": [Piece("[PAD]", 0.0, CONTROL), *RESERVED[1:], *WORDS],
    "other types": [Piece("<pad>", 0.0, NORMAL), *RESERVED[1:], *WORDS],
    "no specials": WORDS,
    "specials only": RESERVED,
    "bytes missing": [*RESERVED, *BYTES[:-1], *WORDS],
    "bytes shuffled": [*RESERVED, *BYTES[::-1], *WORDS],
    "stray byte": [*RESERVED, *WORDS, BYTES[0]],
    "user-defined": [*RESERVED, *WORDS, Piece("b", 0.0, 4)],
    "unused": [*RESERVED, *WORDS, Piece("b", 0.0, 5)],
    "control": [*RESERVED, *WORDS, Piece("b", 0.0, CONTROL)],
    "unknown": [*RESERVED, *WORDS, Piece("b", 0.0, UNKNOWN)],
    "none": [],
}


@pytest.mark.parametrize("name", WRONG_PIECES)
def test_wrong_pieces_are_refused(name: str, tmp_path: Path) -> None:
    refused(write_model(WRONG_PIECES[name], "unigram"), tmp_path)


def test_what_is_no_model_is_refused(trained: bytes, tmp_path: Path) -> None:
    for data in (b"", b"\0", b"not a model\n", b"\x0a", b"\x0a" + b"\xff" * 20, trained[::-1], b"\x80" * 1000):
        refused(data, tmp_path)


def test_every_cut_and_every_addition_is_refused(trained: bytes, tmp_path: Path) -> None:
    for length in range(0, len(trained), 101):
        refused(trained[:length], tmp_path)
    for end in (1, 2, 20, 40):
        refused(trained[:-end], tmp_path)
    # Another normalizer: its compiled table is what crashes the library.
    table = struct.pack("<I", 1024) + b"\xff" * 40
    message = b"\x12" + bytes([len(table)]) + table
    for addition in (b"\0", trained, b"\x1a" + bytes([len(message)]) + message, b"\x2a\x00", b"\x7a\x01x"):
        refused(trained + addition, tmp_path)


def test_mutated_files_are_refused_or_work(trained: bytes, tmp_path: Path) -> None:
    generator = random.Random(1)
    path = tmp_path / "source.model"
    taken = 0
    for _ in range(150):
        data = bytearray(trained)
        for _ in range(generator.choice([1, 1, 3])):
            data[generator.randrange(len(data))] = generator.randrange(256)
        try:
            check_model(bytes(data), path)
        except UsageError:
            continue
        taken += 1
        tokenizer = SentencePieceTokenizer(bytes(data))
        assert tokenizer.decode(tokenizer.encode("the cat 狗")) == "the cat 狗"
    # A changed letter or score makes another model, not a dangerous one.
    assert 0 < taken < 120


def test_files_that_cannot_be_read_are_refused_without_waiting(trained: bytes, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        SentencePieceTokenizer.load(tmp_path / "source.model")
    (tmp_path / "folder.model").mkdir()
    os.mkfifo(tmp_path / "fifo.model")
    with (tmp_path / "large.model").open("wb") as file:
        file.write(trained)
        file.truncate(MAX_FILE_BYTES + 1)
    for name in ("folder", "fifo", "large"):
        with pytest.raises(UsageError, match=name):
            SentencePieceTokenizer.load(tmp_path / f"{name}.model")
