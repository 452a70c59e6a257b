"""Copying at the level of text: what a source offers to copy, targets that hold it, and texts that come of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calque.ids import PAD, UNK
from calque.text.copying import copy_table, decode_copied, encode_copied
from calque.text.pair import TextConfig, TextPair, train_text
from calque.text.source import SourceIds
from calque.text.tokenizers.subword import SentencePieceConfig
from calque.text.tokenizers.symbols import ByteConfig, CharacterConfig, WordConfig

SOURCES = ["the river runs past the mill", "a mill by the river", "two boats on the river"]
TARGETS = ["past the mill the river", "the mill", "boats two"]
WORDS = st.lists(st.sampled_from(["the", "river", "mill", "Zanzibar", "qu'x", "<s>", "7", "past", "</s>"]), max_size=8)


def pair(source: object, target: object, joint: bool = False) -> TextPair:
    config = TextConfig(copying=True, joint=joint, source=source, target=target)
    return train_text(config, lambda: iter(SOURCES), lambda: iter(TARGETS))


@given(WORDS)
def test_what_is_copied_comes_out_as_it_stood(words: list[str]) -> None:
    text = pair(WordConfig(), WordConfig())
    (source,) = text.read_sources([" ".join(words)])
    assert source.copy_ids is not None
    assert len(source.copy_ids) == len(source.tokens) == len(words)
    # Copying the whole source gives its text, known words or not.
    assert text.write_target(source.copy_ids, source) == " ".join(words)
    assert UNK not in source.copy_ids
    assert len(set(source.forms)) == len(source.forms)


@given(WORDS, WORDS)
def test_a_target_is_written_with_the_forms_of_its_source(words: list[str], answer: list[str]) -> None:
    text = pair(WordConfig(), WordConfig())
    ((source, target),) = text.read_pairs([" ".join(words)], [" ".join(answer)])
    for word, number in zip(answer, target, strict=True):
        if number == UNK:
            assert word not in words
        elif number >= text.target.vocab_size:
            assert source.forms[number - text.target.vocab_size] == word
        else:
            assert text.target.decode([number]) == word
    recoverable = [word for word, number in zip(answer, target, strict=True) if number != UNK]
    assert text.write_target(target, source) == " ".join(recoverable)


def test_equal_forms_are_one_column() -> None:
    text = pair(WordConfig(), WordConfig())
    (source,) = text.read_sources(["Oslo Rome Oslo"])
    size = text.target.vocab_size
    assert source.copy_ids == [size, size + 1, size]
    assert source.forms == ("Oslo", "Rome")


def test_characters_can_be_copied_too() -> None:
    text = pair(CharacterConfig(), CharacterConfig())
    (source,) = text.read_sources(["the Ω"])
    assert source.forms == ("Ω",)
    assert text.write_target(source.copy_ids or [], source) == "the Ω"


def test_pieces_are_mapped_by_their_form_between_unlike_vocabularies() -> None:
    config = SentencePieceConfig(vocab_size=60, algorithm="bpe")
    text = pair(config, config)
    (source,) = text.read_sources(["the river runs"])
    assert source.forms == ()
    assert source.copy_ids is not None
    source_forms, target_ids = text.source.forms("the river runs"), source.copy_ids
    assert any(target_ids)
    for form, number in zip(source_forms, target_ids, strict=True):
        assert number == PAD or text.target.id_of(form) == number
        assert (number == PAD) == (text.target.id_of(form) is None)


def test_a_joint_vocabulary_copies_every_piece_as_itself() -> None:
    config = SentencePieceConfig(vocab_size=80, algorithm="bpe")
    text = pair(config, config, joint=True)
    (source,) = text.read_sources(["the river runs far"])
    assert source.copy_ids == source.tokens


def test_unlike_kinds_copy_what_has_the_same_form_and_nothing_else() -> None:
    text = pair(WordConfig(), ByteConfig())
    (source,) = text.read_sources(["the be Oslo"])
    assert source.copy_ids == [PAD, PAD, PAD]
    assert source.forms == ()


def test_without_copying_nothing_is_noted() -> None:
    config = TextConfig(source=WordConfig(), target=WordConfig())
    text = train_text(config, lambda: iter(SOURCES), lambda: iter(TARGETS))
    assert text.read_sources(["the Oslo"]) == [SourceIds(text.encode_source(["the Oslo"])[0])]
    assert text.extras == ()
    assert "copying" not in text.files()["text.json"].decode()


def test_copying_is_saved_and_loaded(tmp_path) -> None:
    text = pair(WordConfig(), WordConfig())
    text.save(tmp_path)
    loaded = TextPair.load(tmp_path)
    assert loaded.copying
    assert loaded.read_pairs(["the Oslo"], ["Oslo mill"]) == text.read_pairs(["the Oslo"], ["Oslo mill"])


@pytest.mark.parametrize("forms", [(), ("Oslo",)])
def test_plain_ids_decode_as_ever(forms: tuple[str, ...]) -> None:
    text = pair(WordConfig(), WordConfig())
    ids = text.target.encode("the mill")
    assert decode_copied(text.target, ids, forms) == text.target.decode(ids) == "the mill"
    assert encode_copied(text.target, "the mill", forms) == ids
    assert copy_table(text.source, text.target, "the mill") == (ids, ())
