"""SentencePiece: every text comes back, no text becomes a special id, no size is an error."""

import os
import random
import re
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from calque.errors import DataError
from calque.ids import NUM_SPECIALS, SPECIALS, UNK
from calque.system.signals import Interrupted, Interruption
from calque.text.tokenizers.subword import MANY_TEXTS, SentencePieceConfig, SentencePieceTokenizer, train_sentencepiece

ENGLISH = [f"The {noun} {verb} the {other}, again." for noun in ("cat", "dog", "old man") for verb in ("sees", "met")
           for other in ("tree", "house", "river")]  # fmt: skip
CHINESE = ["猫看见了那棵树。", "狗又遇见了老人，在河边。", "老人看见了房子！", "河边有一棵大树。"]
SPECIAL_TEXT = ["</s>", "<s>", "<pad>", "<unk>", "<0x0A>", "a </s> b", "<s>a</s>", "<0xE4><0xB8>", " </s> "]
AWKWARD = [
    "", " ", "   ", " a", "a ", "  a   b  ", "，。！？；：", "a，b, c", "👩‍👩‍👧 ok", "שלום עולם", "ภาษาไทย", "e\u0301",
    "▁", "a▁b", "▁ ▁▁", "\ufdd0", "\ufdd1", "\ufdd0\ufdd10▁\ufdd11", "\t", "a\nb", "\r\n", "\x85\x1c", "\0",
    "\ufeffa", "\u200b",    "\u2047 ⁇", "\u2585", "\ue000", "\U0010ffff", "½ ﬁ", "x" * 5000, *SPECIAL_TEXT,
]  # fmt: skip

bounded = settings(max_examples=60, derandomize=True, deadline=None, database=None)


def train(texts: list[str], **fields: object) -> SentencePieceTokenizer:
    return train_sentencepiece(SentencePieceConfig.model_validate(fields), texts)


@pytest.fixture(scope="module", params=["unigram", "bpe"])
def tokenizer(request: pytest.FixtureRequest) -> SentencePieceTokenizer:
    return train(ENGLISH + CHINESE, algorithm=request.param)


@pytest.fixture(scope="module", params=["unigram", "bpe"])
def trained_on_special(request: pytest.FixtureRequest) -> SentencePieceTokenizer:
    return train((SPECIAL_TEXT + AWKWARD) * 20, algorithm=request.param)


@pytest.mark.parametrize("text", AWKWARD)
def test_every_awkward_text_comes_back(
    text: str, tokenizer: SentencePieceTokenizer, trained_on_special: SentencePieceTokenizer
) -> None:
    for trained in (tokenizer, trained_on_special):
        ids = trained.encode(text)
        assert trained.decode(ids) == text
        assert all(NUM_SPECIALS <= number < trained.vocab_size for number in ids)


@bounded
@given(st.lists(st.text(), max_size=3))
def test_any_text_comes_back(tokenizer: SentencePieceTokenizer, texts: list[str]) -> None:
    ids = tokenizer.encode_batch(texts)
    assert [tokenizer.decode(row) for row in ids] == texts
    assert ids == [tokenizer.encode(text) for text in texts]
    assert all(number >= NUM_SPECIALS for row in ids for number in row)


@bounded
@given(st.text(alphabet="▁ \ufdd0\ufdd101a", max_size=12))
def test_the_sign_for_a_blank_is_told_from_a_blank(tokenizer: SentencePieceTokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_special_ids_leave_no_trace(tokenizer: SentencePieceTokenizer) -> None:
    ids = tokenizer.encode("the cat")
    assert tokenizer.decode([2, *ids, 1, 3, 0, 0]) == "the cat"
    assert tokenizer.decode([0, 1, 2, 3]) == tokenizer.decode([]) == ""


def test_lone_surrogates_become_replacement_characters(tokenizer: SentencePieceTokenizer) -> None:
    assert tokenizer.decode(tokenizer.encode("a\ud800b")) == "a\ufffdb"


@pytest.mark.parametrize("algorithm", ["unigram", "bpe"])
def test_a_size_beyond_the_data_is_capped(algorithm: str) -> None:
    for text in ("one single line of text", "a", "的", " "):
        trained = train([text], algorithm=algorithm)
        assert 260 < trained.vocab_size < 400
        assert trained.decode(trained.encode(text)) == text


@pytest.mark.parametrize("algorithm", ["unigram", "bpe"])
@pytest.mark.parametrize("vocab_size", [1, 100, 261, 270, 300])
def test_a_size_below_the_alphabet_works(algorithm: str, vocab_size: int) -> None:
    letters = "".join(chr(0x4E00 + number) for number in range(900))
    trained = train(
        [letters[start : start + 9] for start in range(0, 900, 9)], algorithm=algorithm, vocab_size=vocab_size
    )
    assert trained.vocab_size <= max(vocab_size, 262)
    assert trained.decode(trained.encode(letters)) == letters


def test_without_bytes_the_alphabet_is_whole_and_the_rest_unknown() -> None:
    trained = train(CHINESE, byte_fallback=False, vocab_size=5)
    alphabet = set("".join(CHINESE))
    assert len(alphabet) < trained.vocab_size < len(alphabet) + 10
    assert all(trained.decode(trained.encode(text)) == text for text in CHINESE)
    assert UNK in trained.encode("z")


def test_a_small_vocabulary_keeps_places_for_more_than_letters() -> None:
    rare = "".join(chr(0x4E00 + number) for number in range(200))
    trained = train(["hello world again", *rare] * 3 + ["hello world"] * 50, algorithm="bpe", vocab_size=320)
    assert len(trained.encode("hello world")) <= 3


def test_long_lines_are_not_skipped() -> None:
    words = " ".join(["elephant", "giraffe"] * 5000)
    assert len(train([words]).encode("elephant giraffe")) <= 4
    unspaced = "".join(random.Random(1).choices(["大象", "长颈鹿", "河马", "水"], k=5000))
    assert len(train([unspaced]).encode("大象长颈鹿")) <= 5


def test_chinese_punctuation_stays_full_width(tokenizer: SentencePieceTokenizer) -> None:
    assert tokenizer.decode(tokenizer.encode("你好，世界！")) == "你好，世界！"


def test_learns_the_same_bytes_twice_and_other_bytes_from_other_text() -> None:
    first, second = (train(ENGLISH + CHINESE).files("x") for _ in range(2))
    assert first == second != train(ENGLISH).files("x")


def test_no_text_is_an_error() -> None:
    for texts in ([], [""], ["\0", "\u2585"]):
        with pytest.raises(DataError, match="no text"):
            train(texts)


def test_an_error_of_the_reader_passes_through() -> None:
    def broken():  # type: ignore[no-untyped-def]
        yield "fine"
        raise DataError("not UTF-8", "pairs.tsv", 2)

    with pytest.raises(DataError, match=r"pairs\.tsv:2"):
        train_sentencepiece(SentencePieceConfig(), broken())


def test_a_signal_ends_the_training_within_a_second() -> None:
    """The trainer is one call into C++, which would return only after ten seconds on these texts."""
    numbers = [f"{number * 7919 % 99991:b}" for number in range(8_050)]
    sent = []

    def send() -> None:
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGTERM)

    texts = [" ".join(numbers[start : start + 50]) for start in range(8_000)]
    threading.Timer(1, send).start()
    with Interruption() as interruption, pytest.raises(Interrupted), interruption.raising():
        train(texts)
    assert time.monotonic() - sent[0] < 1


def test_a_signal_ends_the_encoding_of_many_texts(tokenizer: SentencePieceTokenizer) -> None:
    """Send a signal soon after the first text is read: the last ones must not be read any more."""
    texts = [f"The old man sees the river {number} times. " * 100 for number in range(6_000)]
    read = []

    class Signalling(list[str]):
        def __iter__(self) -> Iterator[str]:
            threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM)).start()
            for text in super().__iter__():
                read.append(text)
                yield text

    with Interruption() as interruption, pytest.raises(Interrupted), interruption.raising():
        tokenizer.encode_batch(Signalling(texts))
    assert len(read) < len(texts)


def test_a_child_process_and_this_one_learn_the_same_bytes() -> None:
    with ThreadPoolExecutor(1) as pool:  # another thread does not fork
        here = pool.submit(train, ENGLISH + CHINESE).result()
    assert here.files("x") == train(ENGLISH + CHINESE).files("x")


def test_training_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    train(ENGLISH, vocab_size=10)
    assert capfd.readouterr() == ("", "")


def test_saved_and_loaded_is_equal(tokenizer: SentencePieceTokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path, "source")
    loaded = SentencePieceTokenizer.load(tmp_path / "source.model")
    assert loaded.files("source") == tokenizer.files("source")
    assert loaded.vocab_size == tokenizer.vocab_size
    assert loaded.encode_batch(ENGLISH + AWKWARD) == tokenizer.encode_batch(ENGLISH + AWKWARD)


def test_the_file_is_one_that_plain_sentencepiece_reads_alike(
    tokenizer: SentencePieceTokenizer, tmp_path: Path
) -> None:
    tokenizer.save(tmp_path, "source")
    plain = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "source.model"))
    assert [plain.pad_id(), plain.unk_id(), plain.bos_id(), plain.eos_id()] == [0, 1, 2, 3]
    for text in [*ENGLISH, *CHINESE, "unseen 🙂 text", " a  b "]:
        assert plain.encode(text) == tokenizer.encode(text)
        assert plain.decode(plain.encode(text)) == text


def test_pieces_can_be_read(tokenizer: SentencePieceTokenizer) -> None:
    ids = [*tokenizer.encode("the cat é  ▁"), 3]
    labels = tokenizer.pieces(ids)
    assert len(labels) == len(ids)
    assert labels[-1] == "</s>"
    assert {"0xC3", "0xA9"} < set(labels)
    assert all(re.fullmatch(r"\S+", label) for label in labels)
    assert tokenizer.pieces([0, 1, 2, 3]) == list(SPECIALS)


def test_threads_change_no_id() -> None:
    """Give the same ids in the same order with any number of threads, for few texts and for many."""
    tokenizer = train(ENGLISH + CHINESE)
    texts = [*AWKWARD, *[f"{text} {number}" for number in range(MANY_TEXTS) for text in ENGLISH[:2]]]
    alone = tokenizer.encode_batch(texts)
    tokenizer.num_threads = 3
    assert tokenizer.encode_batch(texts) == alone == [tokenizer.encode(text) for text in texts]
