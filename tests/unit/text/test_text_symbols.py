"""Words, characters, bytes: what is known comes back, what is not is UNK, bytes lose nothing."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calque.errors import DataError, UsageError
from calque.ids import BOS, EOS, NUM_SPECIALS, PAD, SPECIALS, UNK
from calque.text.tokenizers.symbols import (
    ByteTokenizer,
    CharacterConfig,
    CharacterTokenizer,
    WordConfig,
    WordTokenizer,
    train_characters,
    train_words,
)

bounded = settings(max_examples=60, derandomize=True, deadline=None, database=None)


@bounded
@given(st.lists(st.text(), min_size=1, max_size=4))
def test_words_come_back_with_one_blank_between(texts: list[str]) -> None:
    texts = [*texts, "word"]
    words = train_words(WordConfig(), texts)
    assert [words.decode(ids) for ids in words.encode_batch(texts)] == [" ".join(text.split()) for text in texts]


@bounded
@given(st.lists(st.text(), min_size=1, max_size=4))
def test_characters_come_back(texts: list[str]) -> None:
    texts = [*texts, "c"]
    characters = train_characters(CharacterConfig(), texts)
    assert [characters.decode(ids) for ids in characters.encode_batch(texts)] == texts


@bounded
@given(st.text())
def test_bytes_lose_nothing(text: str) -> None:
    tokenizer = ByteTokenizer()
    ids = tokenizer.encode(text)
    assert tokenizer.decode([BOS, *ids, EOS, PAD]) == text
    assert ids == [byte + NUM_SPECIALS for byte in text.encode()]
    assert max(ids, default=0) < tokenizer.vocab_size
    assert len(tokenizer.pieces(ids)) == len(ids)


@bounded
@given(st.binary())
def test_bytes_that_are_no_utf8_are_replaced(data: bytes) -> None:
    ids = [byte + NUM_SPECIALS for byte in data]
    assert ByteTokenizer().decode(ids) == data.decode(errors="replace")


def test_unknown_symbols_are_unk() -> None:
    words = train_words(WordConfig(), ["a b b"])
    assert words.encode("b zebra a") == [NUM_SPECIALS, UNK, NUM_SPECIALS + 1]
    characters = train_characters(CharacterConfig(), ["ab"])
    assert characters.encode("zb") == [UNK, NUM_SPECIALS + 1]
    assert words.decode([UNK, BOS, EOS, PAD]) == characters.decode([UNK, BOS, EOS, PAD]) == ""


def test_special_names_in_the_text_are_ordinary_words() -> None:
    text = " ".join(SPECIALS)
    seen, unseen = train_words(WordConfig(), [text]), train_words(WordConfig(), ["a"])
    assert min(seen.encode(text)) >= NUM_SPECIALS
    assert seen.decode(seen.encode(text)) == text
    assert unseen.encode(text) == [UNK] * 4
    assert min(ByteTokenizer().encode(text)) >= NUM_SPECIALS


def test_the_most_frequent_are_kept_whatever_the_order() -> None:
    texts = ["c c c", "b b", "a a", "d"]
    config = WordConfig(vocab_size=NUM_SPECIALS + 2)
    kept = train_words(config, texts).vocabulary.forms
    assert kept == ("c", "a") == train_words(config, texts[::-1]).vocabulary.forms
    assert set(train_words(WordConfig(min_count=2), texts).vocabulary.forms) == {"a", "b", "c"}
    assert train_characters(CharacterConfig(vocab_size=6), ["ccbba"]).vocabulary.forms == ("b", "c")


def test_a_word_too_long_for_the_file_is_unknown(tmp_path: Path) -> None:
    words = train_words(WordConfig(), ["short " + "x" * 10_000])
    words.save(tmp_path, "source")
    assert WordTokenizer.load(tmp_path / "source.json").vocabulary.forms == ("short",)


def test_no_symbols_are_an_error() -> None:
    for texts in ([], ["", "  "]):
        with pytest.raises(DataError, match="no text"):
            train_words(WordConfig(), texts)
    with pytest.raises(DataError, match=r"min_count of .* is 2, but .* occurs 1 times"):
        train_words(WordConfig(min_count=2), ["a b"])


def test_labels_can_be_seen() -> None:
    characters = train_characters(CharacterConfig(), [" \na\u200d"])
    assert set(characters.pieces(characters.encode(" \na\u200d"))) == {"␣", "U+000A", "a", "U+200D"}
    assert characters.pieces([PAD, UNK, BOS, EOS]) == ByteTokenizer().pieces([PAD, UNK, BOS, EOS]) == list(SPECIALS)
    assert ByteTokenizer().pieces(ByteTokenizer().encode("aé ")) == ["a", "0xC3", "0xA9", "0x20"]


AWKWARD = 'a "quoted" back\\slash \\u0041 \u2028 , [ ] \x85 \x1c \0 é \ue000 \ud800 <unk>'


def test_saved_and_loaded_is_equal(tmp_path: Path) -> None:
    words, characters = train_words(WordConfig(), [AWKWARD]), train_characters(CharacterConfig(), [AWKWARD])
    words.save(tmp_path, "words")
    characters.save(tmp_path, "characters")
    ByteTokenizer().save(tmp_path, "bytes")
    assert {path.name for path in tmp_path.iterdir()} == {"words.json", "characters.json"}
    assert WordTokenizer.load(tmp_path / "words.json").vocabulary.forms == words.vocabulary.forms
    assert CharacterTokenizer.load(tmp_path / "characters.json").vocabulary.forms == characters.vocabulary.forms


HOSTILE = {
    "twice": b'[\n"a",\n"b",\n"a"\n]\n',
    "number": b'[\n"a",\n1\n]\n',
    "null": b"[\nnull\n]\n",
    "nested": b"[\n" + b"[" * 100_000 + b"]" * 100_000 + b"\n]\n",
    "one line": b'["a", "b"]',
    "object": b'{"a": 1}',
    "long": b'[\n"' + b"x" * 100_000 + b'"\n]\n',
    "empty entry": b'[\n""\n]\n',
    "surrogate": b'[\n"\\ud800"\n]\n',
    "not utf-8": b'[\n"\xff"\n]\n',
    "cut short": b'[\n"a",\n"b',
    "nothing": b"",
    "trailing": b'[\n"a"\n]\n[]',
    "many": b"[\n" + b'"a",\n' * 600_000 + b'"b"\n]\n',
    "blank": b'[\n"a b"\n]\n',
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("kind", [WordTokenizer, CharacterTokenizer])
def test_a_hostile_vocabulary_is_refused_by_name(
    name: str, kind: type[WordTokenizer | CharacterTokenizer], tmp_path: Path
) -> None:
    path = tmp_path / "source.json"
    path.write_bytes(HOSTILE[name])
    with pytest.raises(UsageError, match=r"source\.json") as error:
        kind.load(path)
    assert len(str(error.value)) < 600
