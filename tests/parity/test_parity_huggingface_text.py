"""Imported tokenizers give Hugging Face's ids and texts, and what is written is read by Hugging Face with those ids."""

import random
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import huggingface_folders as folders
import pytest

from calque.errors import UsageError
from calque.exchange.huggingface.text import ImportedText, read_text, write_text, written_ids
from calque.ids import EOS
from calque.text.pair import TextConfig, TextPair, train_text
from calque.text.tokenizers.imported import ImportedBytePairTokenizer, ImportedSentencePieceTokenizer

# Their Marian class would have a package for punctuation, which it then does not use.
pytestmark = pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")


class Case(NamedTuple):
    """Say how a folder is made, by which class it is read, and in which languages."""

    make: Callable[[Path], dict[str, Any]]
    name: str
    languages: tuple[str, str] | None = None


CASES = {
    "marian": Case(folders.marian, "MarianTokenizer"),
    "marian, byte pairs": Case(lambda folder: folders.marian(folder, model_type="bpe"), "MarianTokenizer"),
    "marian, two vocabularies": Case(lambda folder: folders.marian(folder, separate=True), "MarianTokenizer"),
    "t5": Case(folders.t5, "T5Tokenizer"),
    "pegasus": Case(folders.pegasus, "PegasusTokenizer"),
    "mbart": Case(folders.mbart, "MBartTokenizer", ("en_XX", "zh_CN")),
    "mbart50": Case(lambda folder: folders.mbart(folder, 52), "MBart50Tokenizer", ("de_DE", "sl_SI")),
    "m2m_100": Case(folders.m2m_100, "M2M100Tokenizer", ("en", "zh")),
    "bart": Case(folders.bart, "BartTokenizer"),
}
# Classes that keep a blank at the end of a text, or do not normalise, where their SentencePiece model does.
KEEPS_BLANK = ("pegasus", "mbart50")
PLAIN = str.maketrans("，；？！：", ",;?!:")


class Folder(NamedTuple):
    """Hold a folder, its config.json, what calque made of it, and Hugging Face's tokenizer."""

    path: Path
    config: dict[str, Any]
    imported: ImportedText
    theirs: Any


@pytest.fixture(scope="module", params=CASES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(family: str, transformers: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Folder:
    path = tmp_path_factory.mktemp("model")
    case = CASES[family]
    config = case.make(path)
    return Folder(path, config, read_text(path, config, case.languages), opened(transformers, family, path))


def opened(transformers: ModuleType, family: str, path: Path) -> Any:
    case = CASES[family]
    names = dict(zip(("src_lang", "tgt_lang"), case.languages or (), strict=False))
    return getattr(transformers, case.name).from_pretrained(path, **names)


def texts(family: str) -> list[str]:
    """Return the texts of which the class makes what its SentencePiece model would."""
    if family in KEEPS_BLANK:
        return [text.strip() for text in folders.TEXTS]
    if family == "mbart":
        return [unicodedata.normalize("NFKC", text).translate(PLAIN).replace("\u200b", " ") for text in folders.TEXTS]
    return folders.TEXTS


def source_ids(imported: ImportedText, text: str) -> list[int]:
    (source,) = imported.text.read_sources([text])
    return [imported.source_ids[number] for number in [*source.tokens, EOS]]


def target_ids(imported: ImportedText, text: str) -> list[int]:
    ((_, target),) = imported.text.read_pairs(["x"], [text])
    return [imported.target_ids[number] for number in [*target, EOS]]


def their_target(family: str, theirs: Any, text: str) -> list[int]:
    """Return the ids of a target; mBART's language, the last, is what its decoder starts with."""
    ids: list[int] = theirs(text_target=text).input_ids
    return ids[:-1] if family == "mbart" else ids


def test_sources_are_theirs(family: str, folder: Folder) -> None:
    for text in texts(family):
        assert source_ids(folder.imported, text) == folder.theirs(text).input_ids, text


def test_targets_are_theirs_and_read_the_same(family: str, folder: Folder) -> None:
    for text in texts(family):
        ids = their_target(family, folder.theirs, text)
        assert target_ids(folder.imported, text) == ids, text
        ((_, target),) = folder.imported.text.read_pairs(["x"], [text])
        decoded = folder.theirs.decode(ids, skip_special_tokens=True)
        # M2M-100 writes the language of the answer before it.
        expected = decoded.removeprefix("__zh__").strip(" ") if family != "bart" else decoded
        assert folder.imported.text.target.decode([*target, EOS]) == expected


def test_random_texts_are_theirs(family: str, folder: Folder) -> None:
    rng = random.Random(5)
    alphabet = "".join(folders.SENTENCES) + "  xyzXYZ\u00e9\u4e2d\u6587\U0001f600\u0431<>_[]{}0\\"
    for _ in range(150):
        text = " ".join("".join(rng.choices(alphabet, k=rng.randrange(1, 40))).split())
        text = text.translate(PLAIN) if family == "mbart" else text
        assert source_ids(folder.imported, text) == folder.theirs(text).input_ids, text


def test_every_row_has_one_place(family: str, folder: Folder) -> None:
    """Every id of the model's table is one of calque's, once; what an answer starts with may be there again."""
    sizes = (folder.config["vocab_size"], folder.config.get("decoder_vocab_size", folder.config["vocab_size"]))
    for ids, size in zip((folder.imported.source_ids, folder.imported.target_ids), sizes, strict=True):
        assert sorted({*ids} - {-1}) == list(range(size))
        assert len(ids[:2] + ids[3:]) == len({*ids[:2], *ids[3:]})
    assert folder.imported.target_ids[0] == folder.config["pad_token_id"]
    assert folder.imported.target_ids[3] == folder.config["eos_token_id"]
    start = folder.imported.target_ids[2]
    if family == "mbart":
        assert start == folder.theirs.convert_tokens_to_ids("zh_CN")
    else:
        assert start == folder.config["decoder_start_token_id"]
    one = family not in ("mbart", "marian, two vocabularies")
    assert (folder.imported.source_ids is folder.imported.target_ids) == one


def test_tokens_are_named_as_theirs(family: str, folder: Folder) -> None:
    target = folder.imported.text.target
    assert isinstance(target, ImportedSentencePieceTokenizer | ImportedBytePairTokenizer)
    named = [token for token in target.table.tokens if token.form]
    assert len(named) > 100
    assert [folder.theirs.convert_ids_to_tokens(token.id) for token in named] == [token.form for token in named]


def test_what_is_written_is_read_by_them(family: str, folder: Folder, transformers: ModuleType, tmp_path: Path) -> None:
    text = folder.imported.text
    ids = write_text(text, tmp_path)
    again = getattr(transformers, CASES[family].name).from_pretrained(tmp_path)
    for line in folders.TEXTS:
        assert again(line).input_ids == folder.theirs(line).input_ids
        assert again(text_target=line).input_ids == folder.theirs(text_target=line).input_ids
    kept = [key for key in ids if key in folder.config and not (family == "mbart" and key == "decoder_start_token_id")]
    assert {"pad_token_id", "eos_token_id", "vocab_size"} <= {*kept}
    assert {key: ids[key] for key in kept} == {key: folder.config[key] for key in kept}
    assert written_ids(text) == (folder.imported.source_ids, folder.imported.target_ids)
    back = read_text(tmp_path, folder.config | ids, None)
    assert back.text.fingerprint == text.fingerprint
    assert back.source_ids == folder.imported.source_ids


def test_what_they_save_is_read(family: str, folder: Folder, transformers: ModuleType, tmp_path: Path) -> None:
    """Their newest form, for some classes tokenizer.json alone, gives the same ids."""
    folder.theirs.save_pretrained(tmp_path)
    theirs = opened(transformers, family, tmp_path)
    imported = read_text(tmp_path, folder.config, CASES[family].languages)
    assert imported.source_ids == folder.imported.source_ids
    # When mBART is saved again, it loses its normalisation table: then all texts equal theirs.
    for text in folders.TEXTS if family == "mbart" else texts(family):
        assert source_ids(imported, text) == theirs(text).input_ids, text


def test_marian_takes_a_code_before_a_source(transformers: ModuleType, tmp_path: Path) -> None:
    imported = read_text(tmp_path, folders.marian(tmp_path), None)
    theirs = opened(transformers, "marian", tmp_path)
    for text in [">>deu<< The baker", ">>zho<<The baker", ">>deu<<", ">>deu<<  two", "a >>deu<< b"]:
        assert source_ids(imported, text) == theirs(text).input_ids, text
    (source,) = imported.text.read_sources([">>deu<< The baker"])
    assert source.lead == 1
    assert imported.source_ids[source.tokens[0]] == theirs.convert_tokens_to_ids(">>deu<<")


@pytest.mark.parametrize("joint", [True, False])
@pytest.mark.parametrize("algorithm", ["unigram", "bpe"])
@pytest.mark.parametrize("fallback", [True, False])
def test_our_own_pieces_are_marians(
    joint: bool, algorithm: str, fallback: bool, transformers: ModuleType, tmp_path: Path
) -> None:
    section = {"kind": "sentencepiece", "vocab_size": 420, "algorithm": algorithm, "byte_fallback": fallback}
    config = TextConfig.model_validate({"joint": joint, "source": section, "target": section})
    sentences = folders.SENTENCES
    text: TextPair = train_text(config, lambda: iter(sentences), lambda: iter(sentences[::2]))
    ids = write_text(text, tmp_path)
    theirs = transformers.MarianTokenizer.from_pretrained(tmp_path)
    for line in folders.TEXTS:
        target = [*text.encode_target([line])[0], EOS]
        assert [*text.encode_source([line])[0], EOS] == theirs(text.normalise(line)).input_ids, line
        assert target == theirs(text_target=line).input_ids, line
        assert theirs.decode(target, skip_special_tokens=True) == text.target.decode(target).strip()
    named = {"pad_token_id": "<pad>", "bos_token_id": "<s>", "eos_token_id": "</s>", "decoder_start_token_id": "<s>"}
    assert {key: theirs.convert_tokens_to_ids(token) for key, token in named.items()} == {
        key: ids[key] for key in named
    }
    back = read_text(tmp_path, ids | {"model_type": "marian"}, None)
    assert back.source_ids == list(range(text.source.vocab_size))
    assert back.text.joint == joint
    assert [back.text.encode_source([line]) for line in sentences] == [text.encode_source([line]) for line in sentences]


def test_a_text_folder_is_saved_and_loaded(folder: Folder, family: str, tmp_path: Path) -> None:
    """Whatever the family, the text folder gives the same ids again, and no file more than it names."""
    folder.imported.text.save(tmp_path / "text")
    shutil.copytree(tmp_path / "text", tmp_path / "copy")
    loaded = TextPair.load(tmp_path / "copy")
    assert loaded.fingerprint == folder.imported.text.fingerprint
    assert loaded.read_sources(folders.TEXTS) == folder.imported.text.read_sources(folders.TEXTS)
    assert written_ids(loaded) == (folder.imported.source_ids, folder.imported.target_ids)


@pytest.mark.parametrize("name", ["text.json", "joint.json", "joint.merges"])
def test_byte_pairs_that_are_damaged_are_refused(name: str, transformers: ModuleType, tmp_path: Path) -> None:
    made = read_text(tmp_path / "model", folders.bart(tmp_path / "model"), None).text
    made.save(tmp_path / "text")
    path = tmp_path / "text" / name
    whole = path.read_bytes()
    for damage in (whole[:-7], whole + b"x x x\n", whole.replace(b"e", b"\xff", 3), b""):
        path.write_bytes(damage)
        with pytest.raises(UsageError, match=r"text\.json|joint\.(json|merges)"):
            TextPair.load(tmp_path / "text")


BYTE_LEVEL = {"pre_tokenizer": {"type": "ByteLevel"}}
LETTERS = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "a": 4, "b": 5, "ab": 6}
WRONG_PAIRS: dict[str, tuple[dict[str, Any], str]] = {
    "unknown pair": ({"vocab.json": LETTERS, "merges.txt": b"b a\n"}, r"merges\.txt: the pair 'b a'"),
    "special pair": ({"vocab.json": LETTERS, "merges.txt": b"<s> a\n"}, r"merges\.txt: the pair"),
    "three": ({"vocab.json": LETTERS, "merges.txt": b"a b\na b a\n"}, r"merges\.txt:2: not a pair"),
    "one": ({"vocab.json": LETTERS, "merges.txt": b"a\n"}, r"merges\.txt:1: not a pair"),
    "not UTF-8": ({"vocab.json": LETTERS, "merges.txt": b"a \xff\n"}, r"merges\.txt: not in UTF-8"),
    "no start": ({"vocab.json": {"</s>": 2, "<unk>": 3, "a": 4}, "merges.txt": b""}, "no <s>"),
    "nothing": ({}, "The model needs vocab.json and merges.txt"),
    "no merges": ({"tokenizer.json": BYTE_LEVEL | {"model": {"type": "BPE", "vocab": LETTERS}}}, "no list of merges"),
    "unigrams": ({"tokenizer.json": BYTE_LEVEL | {"model": {"type": "Unigram"}}}, "not byte-pair encoding"),
    "no bytes": ({"tokenizer.json": {"model": {"vocab": LETTERS, "merges": []}}}, "ByteLevel"),
    "merge a number": (
        {"tokenizer.json": BYTE_LEVEL | {"model": {"vocab": LETTERS, "merges": [5]}}},
        r"tokenizer\.json:1: not a pair",
    ),
}


@pytest.mark.parametrize(("files", "match"), WRONG_PAIRS.values(), ids=WRONG_PAIRS)
def test_wrong_byte_pairs_are_refused(
    files: dict[str, Any], match: str, transformers: ModuleType, tmp_path: Path
) -> None:
    config = {"model_type": "bart", "vocab_size": 7, "pad_token_id": 1, "eos_token_id": 2}
    good = folders.write(tmp_path / "good", {"vocab.json": LETTERS, "merges.txt": b"a b\n"})
    assert read_text(good, config, None).text.target.pieces([4, 5, 6, 7]) == ["<s>", "a", "b", "ab"]
    with pytest.raises(UsageError, match=match):
        read_text(folders.write(tmp_path / "wrong", files), config, None)


def test_byte_pairs_keep_text_as_text(transformers: ModuleType, tmp_path: Path) -> None:
    """What looks like a special token is cut like any word, and every text comes back to the letter."""
    text = read_text(tmp_path, folders.bart(tmp_path), None).text
    for line in ["<s>", "</s> a", "<mask>", " <pad>", "a\0b", *folders.TEXTS]:
        (source,) = text.read_sources([line])
        assert min([*source.tokens[1:], 4]) >= 4
        assert text.target.decode(text.target.encode(line)) == line
    assert text.target.encode("\ud800") == text.target.encode("\ufffd")
