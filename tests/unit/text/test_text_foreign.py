"""SentencePiece models from elsewhere are vetted before the C++ library sees them, their normalisation table too."""

import random
import struct
from pathlib import Path

import huggingface_folders as folders
import pytest
import sentencepiece

from calque.errors import UsageError
from calque.text.sentencepiece.charsmap import check_charsmap
from calque.text.sentencepiece.file import (
    BYTE,
    CONTROL,
    NORMAL,
    UNKNOWN,
    MalformedError,
    Piece,
    bytes_field,
    number_field,
    piece_field,
)
from calque.text.sentencepiece.foreign import (
    BPE,
    UNUSED,
    ForeignModel,
    Settings,
    parse_model,
    processor_of,
    read_model,
)
from calque.text.tokenizers.tokenizer import MAX_ENTRY_BYTES

PATH = Path("spiece.model")
PIECES = [Piece("<unk>", 0.0, UNKNOWN), Piece("▁", -1.0, NORMAL), Piece("a", -2.0, NORMAL), Piece("<s>", 0.0, CONTROL)]


@pytest.fixture(scope="module")
def charsmap() -> bytes:
    return parse_model(folders.trained(), PATH).settings.charsmap


@pytest.mark.parametrize("rule", ["nmt_nfkc", "nfkc", "nmt_nfkc_cf", "identity"])
@pytest.mark.parametrize("algorithm", ["unigram", "bpe"])
def test_the_one_form_cuts_as_the_trained_model(rule: str, algorithm: str) -> None:
    for more in ({}, {"byte_fallback": True, "vocab_size": 400}, {"remove_extra_whitespaces": False}):
        settings = {"model_type": algorithm, "normalization_rule_name": rule, "user_defined_symbols": ["<n>"]} | more
        data = folders.trained(**settings)
        rewritten = parse_model(data, PATH).to_bytes()
        assert read_model(rewritten, PATH) == parse_model(data, PATH)
        theirs, ours = sentencepiece.SentencePieceProcessor(model_proto=data), processor_of(rewritten, PATH)
        for text in [*folders.TEXTS, "a<n>b"]:
            assert ours.encode(text, out_type=str) == theirs.encode(text, out_type=str)
            assert ours.decode(ours.encode(text)) == theirs.decode(theirs.encode(text))


def test_any_order_and_unknown_fields_are_taken() -> None:
    """Another writer may put fields in another order, repeat them, or add its own."""
    score, type_ = b"\x15" + struct.pack("<f", -2.0), number_field(3, NORMAL)
    turned = bytes_field(1, type_ + score + bytes_field(1, b"a") + bytes_field(99, b"new"))
    settings = bytes_field(3, number_field(4, 1)) + bytes_field(2, number_field(3, 1) + number_field(41, 2**64 - 1))
    self_test, fixed = bytes_field(4, b"\x0a\x00"), b"\x99\x06" + b"x" * 8
    data = settings + self_test + piece_field(PIECES[0]) + fixed + piece_field(PIECES[1]) + turned
    model = parse_model(data + piece_field(PIECES[3]), PATH)
    assert model == ForeignModel(PIECES, Settings())
    assert read_model(model.to_bytes(), PATH) == model


WRONG = {
    "nothing": [],
    "no unknown": PIECES[1:],
    "two unknown": [*PIECES, Piece("<unknown>", 0.0, UNKNOWN)],
    "no ordinary": [PIECES[0], PIECES[3]],
    "type": [*PIECES, Piece("b", 0.0, 7)],
    "twice": [*PIECES, PIECES[1]],
    "empty": [*PIECES, Piece("", 0.0, NORMAL)],
    "zero byte": [*PIECES, Piece("a\0", 0.0, NORMAL)],
    "long": [*PIECES, Piece("a" * (MAX_ENTRY_BYTES + 1), 0.0, NORMAL)],
    "infinite": [*PIECES, Piece("b", float("inf"), NORMAL)],
    "one byte": [*PIECES, Piece("<0x41>", 0.0, BYTE)],
}


@pytest.mark.parametrize("pieces", WRONG.values(), ids=WRONG)
def test_wrong_pieces_are_refused(pieces: list[Piece]) -> None:
    with pytest.raises(UsageError, match=r"spiece\.model"):
        parse_model(b"".join(map(piece_field, pieces)) + bytes_field(2, number_field(3, 1)), PATH)


def test_wrong_settings_are_refused(charsmap: bytes) -> None:
    good = ForeignModel(PIECES, Settings()).to_bytes()
    unused = ForeignModel([*PIECES, Piece("b", 0.0, UNUSED)], Settings(algorithm=BPE)).to_bytes()
    wrong = {
        "words": ForeignModel(PIECES, Settings(algorithm=3)).to_bytes(),
        "bytes": ForeignModel(PIECES, Settings(byte_fallback=True)).to_bytes(),
        "unused": unused,
        "decoding": good + bytes_field(5, bytes_field(2, charsmap)),
        "table": ForeignModel(PIECES, Settings(charsmap=b"\1\0\0\0x")).to_bytes(),
        "cut": good[:-1],
        "number": good + bytes_field(2, bytes_field(3, b"x")),
        "group": good + b"\x0b",
    }
    for name, data in wrong.items():
        for read in (parse_model, read_model):
            with pytest.raises(UsageError, match=r"spiece\.model"):
                read(data, PATH)
        assert name
    # What a trainer may write is not what a folder of calque may hold.
    parse_model(good + bytes_field(4, b""), PATH)
    with pytest.raises(UsageError, match="damaged"):
        read_model(good + bytes_field(4, b""), PATH)


def test_too_many_pieces_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("foreign", "file"):
        monkeypatch.setattr(f"calque.text.sentencepiece.{module}.MAX_ENTRIES", 3)
    data = ForeignModel(PIECES, Settings()).to_bytes()
    for read in (parse_model, read_model):
        with pytest.raises(UsageError, match=r"more than 3 pieces"):
            read(data, PATH)


def test_damage_never_reaches_the_library() -> None:
    """Cut or changed anywhere: an error that names the file, or a model that the library takes."""
    rng = random.Random(2)
    data = folders.trained(normalization_rule_name="identity")
    refused = passed = 0
    for _ in range(400):
        damaged = bytearray(data[: rng.randrange(1, len(data))] if rng.random() < 0.2 else data)
        for _ in range(rng.randrange(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        try:
            model = parse_model(bytes(damaged), PATH)
            processor_of(model.to_bytes(), PATH).encode("The baker 今天")
        except UsageError as error:
            refused += "spiece.model" in str(error)
            continue
        passed += 1
    assert refused > 50
    assert refused + passed == 400


def follow(table: bytes, text: bytes) -> list[bytes]:
    """Return what the keys that `text` begins with stand for: the library's own walk, with a look at each step."""
    (size,) = struct.unpack_from("<I", table)
    units, texts = struct.unpack_from(f"<{size // 4}I", table, 4), table[4 + size :]

    def offset(unit: int) -> int:
        return (unit >> 10) << ((unit & 512) >> 6)

    found, place = [], offset(units[0])
    for byte in text:
        place ^= byte
        assert place < len(units)
        unit = units[place]
        if unit & (1 << 31 | 0xFF) != byte:
            return found
        place ^= offset(unit)
        assert place < len(units)
        if unit >> 8 & 1:
            value = units[place] & (1 << 31) - 1
            assert value < len(texts)
            found.append(texts[value : texts.index(b"\0", value)])
    return found


def test_the_real_table_is_followed_as_the_library_does(charsmap: bytes) -> None:
    check_charsmap(charsmap)
    assert follow(charsmap, "ﬁ".encode()) == [b"fi"]
    assert follow(charsmap, "①".encode()) == [b"1"]
    assert follow(charsmap, b"a") == []
    longest = max(len(follow(charsmap, text.encode())) for text in [*folders.TEXTS, "e\u0301", "\u1112\u1161\u11ab"])
    assert longest >= 1


def changed(table: bytes, place: int, unit: int) -> bytes:
    return table[: 4 + 4 * place] + struct.pack("<I", unit) + table[8 + 4 * place :]


def test_a_table_that_leads_astray_is_refused(charsmap: bytes) -> None:
    (size,) = struct.unpack_from("<I", charsmap)
    units = struct.unpack_from(f"<{size // 4}I", charsmap, 4)
    root = units[0] >> 10 << ((units[0] & 512) >> 6)
    # The node for the first byte of ﬁ, of which every key of three bytes has two below it.
    first = root ^ 0xEF
    assert units[first] & (1 << 31 | 0xFF) == 0xEF
    # An offset that comes back to the root: every key goes on for ever, or matches too often.
    to_root = (first ^ root) << 10 | 0xEF
    hostile = {
        "root outside": changed(charsmap, 0, (2**21 - 1) << 10 | 512),
        "node outside": changed(charsmap, first, (2**21 - 1) << 10 | 512 | 0xEF),
        "circle": changed(charsmap, first, to_root),
        "circle of matches": changed(charsmap, first, to_root | 256),
        "text outside": charsmap[:-200_000] if len(charsmap) < 200_000 else charsmap[: 4 + size] + b"a\0",
        "no last zero": charsmap[:-1] + b"a",
        "long text": charsmap + b"a" * 300 + b"\0",
        "not UTF-8": charsmap[:-1] + b"\xff\0",
        "inside a text": charsmap[: 4 + size] + b"a" + charsmap[4 + size : -2] + b"\0",
        "size": struct.pack("<I", 2**32 - 4) + charsmap[4:],
        "odd size": struct.pack("<I", size - 1) + charsmap[4:],
        "only a size": struct.pack("<I", 0),
        "nothing": b"\0",
        "huge": charsmap + b"\0" * 2**21,
    }
    reasons = {"circle of matches": "32 keys with a common start", "circle": "a cycle"}
    for name, table in hostile.items():
        with pytest.raises(MalformedError, match=reasons.get(name, "normalisation table")):
            check_charsmap(table)
        assert table != charsmap, name


def test_what_passes_can_be_followed(charsmap: bytes) -> None:
    """Units changed at random: refused, or the library's walk stays inside for texts that reach them."""
    rng = random.Random(3)
    (size,) = struct.unpack_from("<I", charsmap)
    texts = [text.encode() for text in folders.TEXTS if text]
    passed = refused = 0
    for _ in range(60):
        table = charsmap
        for _ in range(40):
            place = rng.randrange(size // 4)
            (unit,) = struct.unpack_from("<I", table, 4 + 4 * place)
            table = changed(table, place, unit ^ 1 << rng.randrange(32))
        try:
            check_charsmap(table)
        except MalformedError:
            refused += 1
            continue
        passed += 1
        for text in texts:
            for start in range(min(len(text), 40)):
                assert len(follow(table, text[start : start + 80])) <= 32
    assert refused > 5
    assert passed + refused == 60
