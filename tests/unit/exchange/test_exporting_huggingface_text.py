"""A foreign folder that is damaged, hostile or incomplete: one error that names the file and the fix."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_folders as folders
import pytest

from calque.errors import UsageError
from calque.exchange.huggingface.text import ImportedText, read_text
from calque.text.sentencepiece.foreign import parse_model

Config = dict[str, Any]


def refused(folder: Path, config: Config, match: str, languages: tuple[str, str] | None = None) -> str:
    with pytest.raises(UsageError, match=match) as error:
        read_text(folder, config, languages)
    assert len(str(error.value)) < 1_200
    return str(error.value)


WRONG_CONFIGS: dict[str, tuple[Config, str]] = {
    "no type": ({"model_type": None}, "calque does not read models of type 'None'; it reads marian, t5"),
    "another type": ({"model_type": "gpt2"}, "'gpt2'"),
    "a type that is no name": ({"model_type": 5}, "'5'"),
    "no size": ({"vocab_size": None}, "vocab_size must be a number"),
    "size in words": ({"vocab_size": "many"}, "vocab_size must be a number"),
    "size yes": ({"vocab_size": True}, "vocab_size must be a number"),
    "huge": ({"vocab_size": 10**9}, "vocab_size must be a number"),
    "tokens beyond": ({"vocab_size": 100}, "more tokens than the 100"),
    "padding in words": ({"pad_token_id": "0"}, "pad_token_id must be an id"),
    "padding negative": ({"pad_token_id": -1}, "pad_token_id must be an id"),
    "padding beyond": ({"pad_token_id": 5_000}, "more tokens than"),
    "end is padding": ({"eos_token_id": 0}, "must be three different tokens"),
    "forced beyond": ({"forced_bos_token_id": 5_000}, "forced_bos_token_id is 5000"),
    "start of a kind": ({"decoder_start_token_id": {"a": 1}}, "decoder_start_token_id must be an id"),
}


@pytest.mark.parametrize(("changes", "match"), WRONG_CONFIGS.values(), ids=WRONG_CONFIGS)
def test_a_config_that_does_not_hold_is_refused(changes: Config, match: str, tmp_path: Path) -> None:
    config = folders.t5(tmp_path)
    assert "config.json" in refused(tmp_path, config | changes, match)


def test_ids_come_from_the_config_that_the_library_follows(tmp_path: Path) -> None:
    """generation_config.json before config.json; a list of ends means its first; without ids, the tokens' names."""
    config = folders.t5(tmp_path)
    usual = read_text(tmp_path, config, None)
    listed = read_text(tmp_path, config | {"eos_token_id": [1, 0]}, None)
    named = read_text(tmp_path, {"model_type": "t5", "vocab_size": config["vocab_size"]}, None)
    assert usual.source_ids == listed.source_ids == named.source_ids
    assert usual.text.fingerprint == listed.text.fingerprint == named.text.fingerprint
    folders.write(tmp_path, {"generation_config.json": {"decoder_start_token_id": 7, "forced_bos_token_id": 9}})
    other = read_text(tmp_path, config | {"forced_bos_token_id": 11}, None)
    assert other.target_ids[:4] == [0, 2, 7, 1]
    assert other.target_ids[4:] == [number for number in range(config["vocab_size"]) if number not in (0, 1, 2, 7)]
    assert [other.target_ids[number] for number in other.text.frame.target] == [9]


LANGUAGES: dict[str, tuple[tuple[str, str] | None, str]] = {
    "none": (None, "needs the languages"),
    "unknown": (("en", "xx"), "no language 'xx'"),
    "near": (("en_XX", "de_DD"), "Similar: de_DE"),
    "mistyped": (("en_XX", "zh_CM"), "Similar: zh_CN"),
    "empty": (("en_XX", ""), "needs the languages"),
}


@pytest.mark.parametrize(("languages", "match"), LANGUAGES.values(), ids=LANGUAGES)
def test_languages_that_the_model_lacks_are_refused(
    languages: tuple[str, str] | None, match: str, tmp_path: Path
) -> None:
    config = folders.mbart(tmp_path, 52)
    assert "en_XX" in refused(tmp_path, config, match, languages)


def test_languages_by_their_first_part_or_as_saved(tmp_path: Path) -> None:
    config = folders.mbart(tmp_path, 52)
    full, short = (read_text(tmp_path, config, pair) for pair in [("en_XX", "zh_CN"), ("en", "zh")])
    assert full.text.fingerprint == short.text.fingerprint
    settings = {"tokenizer_class": "MBart50Tokenizer", "src_lang": "en_XX", "tgt_lang": "zh_CN"}
    folders.write(tmp_path, {"tokenizer_config.json": settings})
    assert read_text(tmp_path, config, None).text.fingerprint == full.text.fingerprint
    assert read_text(tmp_path, config, ("zh", "en")).text.fingerprint != full.text.fingerprint


@pytest.mark.parametrize("make", [folders.marian, folders.t5, folders.pegasus])
def test_languages_for_a_model_without_them_are_refused(make: Callable[[Path], Config], tmp_path: Path) -> None:
    refused(tmp_path, make(tmp_path), "has no tokens for them", ("en", "de"))


@pytest.mark.parametrize("languages", [25, 52])
def test_mbart_is_told_by_its_size(languages: int, tmp_path: Path) -> None:
    config = folders.mbart(tmp_path, languages)
    named = read_text(tmp_path, config, ("en", "de"))
    for settings in ({}, {"tokenizer_class": "PreTrainedTokenizerFast"}):
        folders.write(tmp_path, {"tokenizer_config.json": settings})
        assert read_text(tmp_path, config, ("en", "de")).text.fingerprint == named.text.fingerprint
    assert (len(named.text.frame.before), len(named.text.frame.after)) == ((0, 1) if languages == 25 else (1, 0))


FILES = {
    "source.spm": folders.marian,
    "target.spm": folders.marian,
    "vocab.json": folders.marian,
    "target_vocab.json": lambda folder: folders.marian(folder, separate=True),
    "spiece.model": folders.t5,
    "sentencepiece.bpe.model": folders.m2m_100,
}


@pytest.mark.parametrize("name", FILES)
def test_every_file_is_vetted(name: str, tmp_path: Path) -> None:
    config = FILES[name](tmp_path)
    languages = ("en", "de") if name == "sentencepiece.bpe.model" else None
    path = tmp_path / name
    whole = path.read_bytes()
    read_text(tmp_path, config, languages)
    path.unlink()
    refused(tmp_path, config, name, languages)
    path.mkdir()
    refused(tmp_path, config, "no tokenizer" if name == "spiece.model" else f"{name}: not a regular file", languages)
    path.rmdir()
    for damage in (b"", whole[: len(whole) // 2], b"\xff" + whole, b"[" * 100_000, b"[]", b"null"):
        path.write_bytes(damage)
        refused(tmp_path, config, name, languages)
    with path.open("wb") as file:
        file.truncate(2**30)
    refused(tmp_path, config, f"{name}: 1,073,741,824 bytes", languages)


WRONG_VOCABULARIES: dict[str, Any] = {
    "a list": ["<unk>", "a"],
    "no unknown": {"</s>": 0, "a": 1},
    "id twice": {"</s>": 0, "<unk>": 1, "a": 1},
    "id in words": {"</s>": 0, "<unk>": 1, "a": "2"},
    "id a float": {"</s>": 0, "<unk>": 1, "a": 2.0},
    "id yes": {"</s>": 0, "<unk>": True},
    "id negative": {"</s>": 0, "<unk>": -1},
    "id huge": {"</s>": 0, "<unk>": 10**12},
    "empty token": {"</s>": 0, "<unk>": 1, "": 2},
    "long token": {"</s>": 0, "<unk>": 1, "a" * 300: 2},
    "zero byte": {"</s>": 0, "<unk>": 1, "a\0": 2},
    "half a character": {"</s>": 0, "<unk>": 1, "\ud800": 2},
    "within": {"</s>": 0, "<unk>": {"a": 1}},
}


@pytest.mark.parametrize("vocabulary", WRONG_VOCABULARIES.values(), ids=WRONG_VOCABULARIES)
def test_a_wrong_vocabulary_is_refused(vocabulary: Any, tmp_path: Path) -> None:
    config = folders.marian(tmp_path)
    folders.write(tmp_path, {"vocab.json": vocabulary})
    refused(tmp_path, config, r"vocab\.json")


def test_more_entries_than_memory_are_refused_unread(tmp_path: Path) -> None:
    config = folders.marian(tmp_path)
    folders.write(tmp_path, {"vocab.json": b"[" + b"[]," * 2_000_000 + b"[]]"})
    refused(tmp_path, config, r"vocab\.json: the file has more entries")


def fast(config: Config, folder: Path, **changes: Any) -> Config:
    """Write a tokenizer.json in place of the model of a T5 folder."""
    model = parse_model((folder / "spiece.model").read_bytes(), folder / "spiece.model")
    table = base64.b64encode(model.settings.charsmap).decode()
    unigrams = {"type": "Unigram", "unk_id": 2, "vocab": [[piece.text, piece.score] for piece in model.pieces]}
    whole = {
        "model": unigrams,
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Precompiled", "precompiled_charsmap": table}]},
        "added_tokens": [{"id": 0, "content": "<pad>", "special": True}, {"id": 1, "content": "</s>", "special": True}],
    }
    (folder / "spiece.model").unlink()
    folders.write(folder, {"tokenizer.json": whole | changes})
    return config


def test_tokenizer_json_cuts_as_the_model(tmp_path: Path) -> None:
    config = folders.t5(tmp_path)
    slow: ImportedText = read_text(tmp_path, config, None)
    quick = read_text(tmp_path, fast(config, tmp_path), None)
    assert quick.source_ids == slow.source_ids
    assert quick.text.encode_source(folders.TEXTS) == slow.text.encode_source(folders.TEXTS)
    assert quick.text.fingerprint == slow.text.fingerprint


WRONG_FAST: dict[str, Config] = {
    "no model": {"model": None},
    "words": {"model": {"type": "WordPiece", "vocab": {}}},
    "no pieces": {"model": {"type": "Unigram", "unk_id": 0, "vocab": []}},
    "unknown beyond": {"model": {"type": "Unigram", "unk_id": 9, "vocab": [["a", 0.0]]}},
    "no unknown": {"model": {"type": "Unigram", "unk_id": None, "vocab": [["a", 0.0]]}},
    "score in words": {"model": {"type": "Unigram", "unk_id": 0, "vocab": [["a", "0"]]}},
    "score infinite": {"model": {"type": "Unigram", "unk_id": 0, "vocab": [["a", 0.0], ["b", float("inf")]]}},
    "piece a number": {"model": {"type": "Unigram", "unk_id": 0, "vocab": [[5, 0.0]]}},
    "piece empty": {"model": {"type": "Unigram", "unk_id": 0, "vocab": [["a", 0.0], ["b", 0.0], ["", 0.0]]}},
    "twice": {"model": {"type": "Unigram", "unk_id": 0, "vocab": [["a", 0.0], ["b", 0.0], ["b", 0.0]]}},
    "three in an entry": {"model": {"type": "Unigram", "unk_id": 0, "vocab": [["a", 0.0, 1]]}},
    "not base64": {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "%%%"}},
    "hostile table": {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAAAA=="}},
}


@pytest.mark.parametrize("changes", WRONG_FAST.values(), ids=WRONG_FAST)
def test_a_wrong_tokenizer_json_is_refused(changes: Config, tmp_path: Path) -> None:
    config = fast(folders.t5(tmp_path), tmp_path, **changes)
    refused(tmp_path, config, r"tokenizer\.json")


def test_parts_of_tokenizer_json_that_are_no_parts_are_left(tmp_path: Path) -> None:
    """What is not taken cannot do harm: components of wrong types are as if they were not there."""
    config = folders.t5(tmp_path)
    made = [{"normalizer": [1, 2]}, {"normalizer": {"normalizers": 5}}, {"added_tokens": {"a": 1}}, {"decoder": "x"}]
    whole = fast(config, tmp_path)
    text = json.loads((tmp_path / "tokenizer.json").read_text())
    for changes in made:
        folders.write(tmp_path, {"tokenizer.json": text | changes})
        assert read_text(tmp_path, whole, None).source_ids[:4] == [0, 2, 0, 1]


@pytest.mark.parametrize("settings", [{"extra_ids": "ten"}, {"extra_ids": -1}, {"extra_ids": 10**9}])
def test_wrong_settings_of_a_tokenizer_are_refused(settings: Config, tmp_path: Path) -> None:
    config = folders.t5(tmp_path)
    folders.write(tmp_path, {"tokenizer_config.json": settings})
    refused(tmp_path, config, r"tokenizer_config\.json: extra_ids")
