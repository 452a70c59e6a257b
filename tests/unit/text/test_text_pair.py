"""Both sides together: joint or separate, normalised on the source only, kept in a folder that is vetted."""

import itertools
import json
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from calque.config import help_of
from calque.errors import DataError, UsageError
from calque.ids import UNK
from calque.text.pair import TextConfig, TextPair, train_text, train_tokenizer
from calque.text.tokenizers.symbols import ByteTokenizer, CharacterTokenizer, WordConfig

ENGLISH = ["The cat sees a tree.", "The dog meets an old man, by the river.", "A café\u0301 by the café."]
CHINESE = ["猫看见一棵树。", "狗在河边遇见老人，", "河边的 café 和 cafe\u0301。"]
KINDS = ["sentencepiece", "word", "character", "byte"]


def sources() -> Iterator[str]:
    return iter(ENGLISH)


def targets() -> Iterator[str]:
    return iter(CHINESE)


def pair(**fields: Any) -> TextPair:
    return train_text(TextConfig.model_validate(fields), sources, targets)


def flat(rows: list[list[int]]) -> list[int]:
    return list(itertools.chain.from_iterable(rows))


def both(kind: str, **fields: Any) -> TextPair:
    return pair(source={"kind": kind}, target={"kind": kind}, **fields)


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_loaded_is_equal(kind: str, joint: bool, tmp_path: Path) -> None:
    trained = both(kind, joint=joint)
    trained.save(tmp_path / "new" / "text")
    loaded = TextPair.load(tmp_path / "new" / "text")
    assert loaded.fingerprint == trained.fingerprint
    assert loaded.files() == trained.files()
    assert loaded.encode_source(ENGLISH) == trained.encode_source(ENGLISH)
    assert loaded.encode_target(CHINESE) == trained.encode_target(CHINESE)
    assert [path.name for path in (tmp_path / "new" / "text").iterdir() if path.name not in trained.files()] == []
    assert (loaded.source is loaded.target) == joint


def test_the_default_gives_every_target_back() -> None:
    trained = pair()
    assert [trained.target.decode(ids) for ids in trained.encode_target(CHINESE)] == CHINESE
    assert trained.source.vocab_size != trained.target.vocab_size


def test_joint_knows_both_sides_and_separate_only_its_own() -> None:
    joint, separate = both("character", joint=True, normalise="none"), both("character", normalise="none")
    assert joint.encode_source(CHINESE) == joint.encode_target(CHINESE)
    assert UNK not in flat(joint.encode_source(CHINESE + ENGLISH))
    assert UNK in flat(separate.encode_source(CHINESE))
    assert UNK not in flat(separate.encode_target(CHINESE))


def test_sides_may_be_of_different_kinds(tmp_path: Path) -> None:
    trained = pair(source={"kind": "character"}, target={"kind": "byte"})
    trained.save(tmp_path)
    loaded = TextPair.load(tmp_path)
    assert isinstance(loaded.source, CharacterTokenizer)
    assert isinstance(loaded.target, ByteTokenizer)
    assert {path.name for path in tmp_path.iterdir()} == {"text.json", "source.json"}


@pytest.mark.parametrize("normalise", ["none", "nfc", "nfkc"])
def test_only_the_source_is_normalised(normalise: str) -> None:
    trained = both("byte", normalise=normalise)
    text = "cafe\u0301 ﬁ ，"
    expected = text if normalise == "none" else unicodedata.normalize(normalise.upper(), text)
    assert trained.normalise(text) == expected
    assert trained.source.decode(trained.encode_source([text])[0]) == expected
    assert trained.target.decode(trained.encode_target([text])[0]) == text


def test_training_counts_the_normalised_source() -> None:
    def decomposed() -> Iterator[str]:
        return (unicodedata.normalize("NFD", text) for text in ENGLISH)

    config = TextConfig(normalise="nfc")
    assert train_text(config, decomposed, targets).files() == train_text(config, sources, targets).files()
    plain = TextConfig(normalise="none")
    assert train_text(plain, decomposed, targets).files() != train_text(plain, sources, targets).files()


def test_the_fingerprint_tells_what_matters() -> None:
    prints = [pair(), both("word"), both("byte"), both("byte", joint=True), both("byte", normalise="nfkc")]
    assert len({trained.fingerprint for trained in prints}) == len(prints)
    assert pair().fingerprint == pair().fingerprint


def test_joint_wants_the_same_settings_and_says_which_differ() -> None:
    with pytest.raises(ValidationError, match=r"joint.*vocab_size \(8000 and 4000\)"):
        TextConfig.model_validate({"joint": True, "target": {"kind": "sentencepiece", "vocab_size": 4000}})
    with pytest.raises(ValidationError, match=r"kind \(sentencepiece and byte\)"):
        TextConfig.model_validate({"joint": True, "target": {"kind": "byte"}})
    assert TextConfig(joint=True).joint


def test_every_field_has_its_help() -> None:
    models = [TextConfig, *(type(TextConfig.model_validate({"source": {"kind": kind}}).source) for kind in KINDS)]
    assert [(model, name) for model in models for name in model.model_fields if not help_of(model).get(name)] == []


def test_a_side_without_text_is_an_error() -> None:
    with pytest.raises(DataError):
        train_text(TextConfig(), sources, lambda: iter([""]))


def test_a_vocabulary_too_large_to_be_read_again_is_refused() -> None:
    words = [f"{number:0250d}" for number in range(80_000)]
    with pytest.raises(UsageError, match="smaller vocab_size"):
        train_tokenizer(WordConfig(vocab_size=100_000), [" ".join(words)])


HOSTILE = {
    "not json": "{",
    "list": "[]",
    "deep": "[" * 60_000,
    "newer": {"format": 2},
    "no format of ours": {"format": "1"},
    "path as kind": {"source": "../../secret"},
    "path beside": {"path": "/etc/passwd"},
    "loose": {"joint": "no"},
    "unknown normalisation": {"normalise": "nfd"},
    "joint of two kinds": {"joint": True, "target": "byte"},
    "other kind than the file": {"source": "word"},
    "large": "[" + " " * 100_000 + "]",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_folder_is_refused_by_name(name: str, tmp_path: Path) -> None:
    both("sentencepiece").save(tmp_path)
    path = tmp_path / "text.json"
    change = HOSTILE[name]
    path.write_text(change if isinstance(change, str) else json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UsageError, match=r"text\.json|source\.json") as error:
        TextPair.load(tmp_path)
    assert len(str(error.value)) < 600


@pytest.mark.parametrize("name", ["text.json", "source.model", "target.model"])
def test_a_missing_file_is_named(name: str, tmp_path: Path) -> None:
    both("sentencepiece").save(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(UsageError, match=name):
        TextPair.load(tmp_path)


def test_torch_is_not_imported() -> None:
    code = "import sys, calque.text.pair, calque.text.scripts; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
