"""Tokenizers that came with a model from elsewhere: tables, frames, files, and text that looks like a special token."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_folders as folders
import pytest

from calque.data.collate import collate_sources
from calque.errors import UsageError
from calque.exchange.huggingface.text import ImportedText, read_text, write_text
from calque.ids import BOS, EOS, PAD, UNK
from calque.recipe.tree import Recipe
from calque.text.inputs import Inputs
from calque.text.pair import TextConfig, TextPair, train_text
from calque.text.source import SourceIds
from calque.text.tokenizers.frame import NO_FRAME, Frame
from calque.text.tokenizers.imported import ImportedSentencePieceTokenizer
from calque.text.tokenizers.token_table import Origin, Token, TokenTable
from calque.text.too_long import fitted

Maker = Callable[[Path], dict[str, Any]]
MAKERS: dict[str, tuple[Maker, tuple[str, str] | None]] = {
    "marian": (folders.marian, None),
    "marian, two vocabularies": (lambda folder: folders.marian(folder, separate=True), None),
    "t5": (folders.t5, None),
    "pegasus": (folders.pegasus, None),
    "mbart": (folders.mbart, ("en_XX", "zh_CN")),
    "mbart50": (lambda folder: folders.mbart(folder, 52), ("de", "sl")),
    "m2m_100": (folders.m2m_100, ("en", "zh_CN")),
}
SPECIAL_LOOKING = [
    "</s>",
    "<pad> <unk> <s> a",
    "<extra_id_0> <extra_id_9>",
    "en_XX zh_CN <mask>",
    "__en__ __zh__",
    "<mask_1><unk_7>",
    "a >>deu<< b",
    ">>fra<< unknown code",
    ">> deu << no code",
]


@pytest.fixture(scope="module", params=MAKERS)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def made(family: str, tmp_path_factory: pytest.TempPathFactory) -> ImportedText:
    make, languages = MAKERS[family]
    folder = tmp_path_factory.mktemp("model")
    return read_text(folder, make(folder), languages)


@pytest.fixture(scope="module")
def marian(tmp_path_factory: pytest.TempPathFactory) -> ImportedText:
    folder = tmp_path_factory.mktemp("marian")
    return read_text(folder, folders.marian(folder), None)


def test_saved_and_loaded_is_the_same(made: ImportedText, tmp_path: Path) -> None:
    made.text.save(tmp_path)
    loaded = TextPair.load(tmp_path)
    assert loaded.fingerprint == made.text.fingerprint
    assert loaded.frame == made.text.frame
    assert loaded.read_sources(folders.TEXTS) == made.text.read_sources(folders.TEXTS)
    assert loaded.encode_target(folders.TEXTS) == made.text.encode_target(folders.TEXTS)


def test_a_recipe_names_the_kinds(made: ImportedText, tmp_path: Path) -> None:
    recipe = Recipe.model_validate(Recipe().model_dump() | {"text": made.config.model_dump()})
    assert Recipe.model_validate_json(recipe.model_dump_json()).text == made.config
    assert (recipe.text.source.kind, recipe.text.target.kind) == (made.text.source.kind, made.text.target.kind)
    assert recipe.text.joint == made.text.joint
    with pytest.raises(UsageError, match="cannot be learned from text"):
        train_text(made.config, lambda: iter(["a"]), lambda: iter(["a"]))


def test_text_stays_text(made: ImportedText) -> None:
    """No text becomes a special id, whatever it looks like: every token of it stands for text, or is unknown."""
    frame = made.text.frame
    for text in SPECIAL_LOOKING + folders.TEXTS:
        (source,) = made.text.read_sources([text])
        own = source.tokens[len(frame.before) : len(source.tokens) - len(frame.after)]
        for tokenizer, ids in ((made.text.source, own), (made.text.target, made.text.encode_target([text])[0])):
            assert isinstance(tokenizer, ImportedSentencePieceTokenizer)
            assert all(number == UNK or tokenizer.table.tokens[number].is_text for number in ids), text


def test_forms_labels_and_ids_belong_together(made: ImportedText) -> None:
    for tokenizer in (made.text.source, made.text.target):
        assert isinstance(tokenizer, ImportedSentencePieceTokenizer)
        for text in folders.TEXTS:
            ids = tokenizer.encode(text)
            assert [tokenizer.id_of(form) or UNK for form in tokenizer.forms(text)] == ids
            assert all(label.isprintable() and label for label in tokenizer.pieces(ids))
        everything = list(range(tokenizer.vocab_size))
        assert len(tokenizer.pieces(everything)) == tokenizer.vocab_size == len(tokenizer.table)
        controls = [number for number in everything if not tokenizer.table.tokens[number].is_text]
        assert {PAD, UNK, BOS, EOS} <= set(controls)
        assert tokenizer.decode(controls) == ""
        assert [tokenizer.id_of(tokenizer.table.tokens[number].form) for number in controls if number < 4] == [None] * 4


def test_known_text_comes_back(made: ImportedText) -> None:
    for sentence in folders.SENTENCES[:1] + folders.SENTENCES[2:3]:
        assert made.text.target.decode(made.text.target.encode(f"  {sentence} ")) == sentence


def test_each_family_has_its_frame(family: str, made: ImportedText) -> None:
    """Before, behind and forced, in the words of the model."""
    frame, source, target = made.text.frame, made.text.source, made.text.target
    assert isinstance(source, ImportedSentencePieceTokenizer)
    assert isinstance(target, ImportedSentencePieceTokenizer)
    forms = [source.table.tokens[number].form for number in (*frame.before, *frame.after)]
    forced = [target.table.tokens[number].form for number in frame.target]
    expected = {"mbart": (["</s>"], []), "mbart50": (["de_DE"], ["sl_SI"]), "m2m_100": (["__en__"], ["__zh__"])}
    assert (forms, forced) == expected.get(family, ([], []))
    assert set(frame.codes) == ({">>deu<<", ">>zho<<"} if family.startswith("marian") else set())
    (read,) = made.text.read_sources(["The baker"])
    assert read.prefix == frame.target
    assert (read.lead, read.tail) == (len(frame.before), len(frame.after))
    closing = "en_XX" if family == "mbart" else "</s>"
    assert source.table.tokens[EOS].form == closing
    assert collate_sources([read]).tokens[0].tolist() == [*read.tokens, EOS]


def test_a_code_before_a_source_is_a_token(marian: ImportedText) -> None:
    text = marian.text
    plain, coded = text.read_sources(["The baker", ">>zho<< The baker"])
    assert coded.tokens == [text.frame.codes[">>zho<<"], *plain.tokens]
    assert (plain.lead, coded.lead) == (0, 1)
    assert text.encode_source([">>zho<< The baker"]) == [coded.tokens]
    assert text.frame.codes[">>zho<<"] not in text.encode_target([">>zho<< The baker"])[0]
    with_tag = replace(text, inputs=Inputs(sources=("first", "second")))
    (both,) = with_tag.read_sources([">>deu<< a\t>>zho<< b"])
    assert {*text.frame.codes.values()} <= {*both.tokens}


def test_every_part_keeps_what_stands_around() -> None:
    whole = SourceIds(list(range(10, 20)), copy_ids=list(range(30, 40))).framed((4, 5), (6,))
    assert whole.tokens == [4, 5, *range(10, 20), 6]
    assert whole.copy_ids == [PAD, PAD, *range(30, 40), PAD]
    for longest in (4, 5, 7, 9):
        parts = fitted(whole, longest, "split")
        assert all(len(part) <= longest and part.tokens[:2] == [4, 5] and part.tokens[-1] == 6 for part in parts)
        assert [number for part in parts for number in part.tokens[2:-1]] == list(range(10, 20))
        assert [number for part in parts for number in part.copy_ids or []].count(PAD) == 3 * len(parts)
    several = SourceIds([8, 3, 9], segments=[0, 0, 1], edges=[(0, 2, 1)]).framed((4,), (5, 6))
    assert several.segments == [0, 0, 0, 1, 1, 1]
    assert several.edges == [(1, 3, 1)]
    assert several.framed((7,)).lead == 2


def test_folders_without_a_frame_stay_as_they_were(tmp_path: Path) -> None:
    config = TextConfig.model_validate({"source": {"kind": "byte"}, "target": {"kind": "byte"}})
    text = train_text(config, lambda: iter(["a"]), lambda: iter(["a"]))
    assert "frame" not in json.loads(text.files()["text.json"])
    assert text.frame == NO_FRAME
    framed = replace(text, frame=Frame(before=(9,), target=(7,)))
    framed.save(tmp_path)
    assert TextPair.load(tmp_path).frame == framed.frame
    assert framed.target_fingerprint != text.target_fingerprint
    assert framed.read_pairs(["b"], ["c"]) == [
        (replace(source.framed((9,)), prefix=(7,)), [7, *target]) for source, target in text.read_pairs(["b"], ["c"])
    ]


WRONG_FRAMES = {
    "beyond the vocabulary": {"before": [999]},
    "beyond the target": {"target": [999]},
    "code beyond": {"codes": {">>x<<": 999}},
    "negative": {"after": [-1]},
    "no list": {"before": 5},
    "too many": {"before": [5] * 9},
    "unknown key": {"behind": [5]},
}


@pytest.mark.parametrize("frame", WRONG_FRAMES.values(), ids=WRONG_FRAMES)
def test_a_wrong_frame_is_refused(frame: dict[str, Any], marian: ImportedText, tmp_path: Path) -> None:
    marian.text.save(tmp_path)
    path = tmp_path / "text.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"frame": frame}))
    with pytest.raises(UsageError, match=r"text\.json"):
        TextPair.load(tmp_path)


def table(*tokens: Token) -> TokenTable:
    first = [Token(5, "<pad>", False), Token(1, "<unk>", False), Token(5, "<pad>", False), Token(0, "</s>", False)]
    return TokenTable(Origin(family="marian"), (*first, *tokens))


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "source.json"
    given = table(Token(2, "▁a", True), Token(3, '"\\\n', True), Token(4, "", False), Token(-1, "▁a", False))
    path.write_bytes(given.to_json())
    read = TokenTable.load(path)
    assert read == given
    assert read.ids == [5, 1, 5, 0, 2, 3, 4, -1]
    assert read.forms == {"▁a": 4, '"\\\n': 5}
    assert read.numbers[5] == PAD
    assert read.known(range(8)) == ["▁a", '"\\\n']


GOOD = table(Token(2, "▁a", True), Token(3, "b", True)).to_json()
WRONG_TABLES = {
    "empty": b"",
    "cut": GOOD[:-3],
    "longer": GOOD + b"\n",
    "unknown family": GOOD.replace(b'"marian"', b'"gpt"'),
    "unknown key": GOOD.replace(b'"offset"', b'"offsets"'),
    "other format": GOOD.replace(b'"format": 1', b'"format": 2'),
    "blank more": GOOD.replace(b"0, 2, 3]", b"0, 2,  3]"),
    "id a float": GOOD.replace(b"0, 2, 3]", b"0, 2.0, 3]"),
    "id a bool": GOOD.replace(b"0, 2, 3]", b"0, true, 3]"),
    "id too low": GOOD.replace(b"0, 2, 3]", b"0, -2, 3]"),
    "id too high": GOOD.replace(b"0, 2, 3]", b"0, 2147483648, 3]"),
    "id twice": GOOD.replace(b"0, 2, 3]", b"0, 3, 3]"),
    "id of padding": GOOD.replace(b"0, 2, 3]", b"0, 5, 3]"),
    "one id fewer": GOOD.replace(b"0, 2, 3]", b"0, 2]"),
    "ids in a key": GOOD.replace(b"[5, 1, 5, 0, 2, 3]", b'{"5": 1}'),
    "form twice": GOOD.replace(b'"b"', '"▁a"'.encode()),
    "text without form": GOOD.replace(b'"b"', b'""'),
    "long": GOOD.replace(b'"b"', b'"' + b"b" * 300 + b'"'),
    "long in another script": GOOD.replace(b'"b"', b'"' + "б".encode() * 200 + b'"'),
    "lone surrogate": GOOD.replace(b'"b"', b'"\\ud800"'),
    "zero": GOOD.replace(b'"b"', b'"\\u0000"'),
    "special that is text": GOOD.replace(b"[false", b"[true"),
    "a list": GOOD.replace(b'"b"', b"[]"),
    "brackets": GOOD.replace(b'"b"', b"[" * 200_000),
    "many brackets": GOOD.replace(b'"b"', b"[" * 400_000),
    "not UTF-8": GOOD.replace(b'"b"', b'"\xff"'),
    "no object": b"[]\n",
}


@pytest.mark.parametrize("data", WRONG_TABLES.values(), ids=WRONG_TABLES)
def test_a_damaged_table_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "source.json"
    path.write_bytes(GOOD)
    assert TokenTable.load(path).to_json() == GOOD
    assert data != GOOD
    path.write_bytes(data)
    with pytest.raises(UsageError, match=r"source\.json") as error:
        TokenTable.load(path)
    assert len(str(error.value)) < 600


def test_a_model_of_calque_is_no_imported_one(marian: ImportedText, tmp_path: Path) -> None:
    """Each kind takes its own files only: the strict check of calque's own models is not loosened."""
    marian.text.save(tmp_path)
    path = tmp_path / "text.json"
    path.write_text(path.read_text().replace("imported_sentencepiece", "sentencepiece"))
    with pytest.raises(UsageError, match=r"source\.model: damaged"):
        TextPair.load(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        {"source": {"kind": "word"}, "target": {"kind": "sentencepiece"}},
        {"source": {"kind": "sentencepiece"}, "target": {"kind": "character"}},
        {"source": {"kind": "byte"}, "target": {"kind": "byte"}},
    ],
)
def test_only_pieces_can_be_written(text: dict[str, Any], tmp_path: Path) -> None:
    config = TextConfig.model_validate(text)
    trained = train_text(config, lambda: iter(folders.SENTENCES), lambda: iter(folders.SENTENCES))
    with pytest.raises(UsageError, match=r"text\.source\.kind.*sentencepiece"):
        write_text(trained, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_their_tokenizers_lack_is_refused(marian: ImportedText, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"data\.columns"):
        write_text(replace(marian.text, inputs=Inputs(sources=("a", "b"))), tmp_path)
    with pytest.raises(UsageError, match=r"text\.copying"):
        write_text(replace(marian.text, copying=True), tmp_path)
    layout = TextConfig.model_validate({"layout": {"kind": "linearised"}, "source": {"kind": "sentencepiece"}})
    lines = ['{"nodes": ["a", "b"], "edges": [[0, 1, "x"]]}'] * 2
    with pytest.raises(UsageError, match=r"text\.layout"):
        write_text(train_text(layout, lambda: iter(lines), lambda: iter(lines)), tmp_path)


def test_byte_pairs_need_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "vocab.json": {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "a": 4, "b": 5, "ab": 6},
        "merges.txt": b"a b\n",
    }
    config = {"model_type": "bart", "vocab_size": 7, "pad_token_id": 1, "eos_token_id": 2}
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(UsageError, match=r"pip install calque\[huggingface\]"):
        read_text(folders.write(tmp_path, files), config, None)
