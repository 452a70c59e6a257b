"""Several sources and tags in one row of tokens: nothing is mixed up, and no text becomes a tag or a separator."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from calque.errors import DataError, UsageError
from calque.ids import EOS, PAD, SPECIALS
from calque.text.graph.layout import SourceError
from calque.text.inputs import ONE_TEXT, InputLine, Inputs, found_tags, join_sources
from calque.text.pair import TextConfig, TextPair, train_text
from calque.text.source import SourceIds
from calque.text.tokenizers.tags import TaggedTokenizer

QUESTIONS = ["who came?", "where did the ship go?", "what lies by the river?"]
PASSAGES = ["Ada came.", "The ship went to the harbour.", "A mill lies by the river."]
ANSWERS = ["Ada", "the harbour", "a mill"]
SEVERAL = Inputs(sources=("question", "passage"))
KINDS = ["sentencepiece", "word", "character", "byte"]


def lines(*columns: Sequence[str]) -> list[str]:
    """Return columns as lines with tabs."""
    return ["\t".join(cells) for cells in zip(*columns, strict=True)]


def learned(inputs: Inputs, sources: Sequence[str], kind: str = "word", **fields) -> TextPair:
    """Learn tokenizers."""
    config = TextConfig.model_validate({"source": {"kind": kind}, "target": {"kind": kind}} | fields)
    return train_text(config, lambda: iter(sources), lambda: iter(ANSWERS), inputs)


def several(kind: str = "word", **fields) -> TextPair:
    """Learn tokenizers of questions and passages."""
    return learned(SEVERAL, lines(QUESTIONS, PASSAGES), kind, **fields)


def tagged(side: str = "source", kind: str = "word", **fields) -> TextPair:
    """Learn tokenizers of questions with a language."""
    inputs = Inputs(sources=("question",), tag="lang", tag_side=side, tags=("de", "en"))
    return learned(inputs, lines(["de", "en", "de"], QUESTIONS), kind, **fields)


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_each_source_is_read_by_itself(kind: str, joint: bool) -> None:
    text = several(kind, joint=joint)
    rows = lines([*QUESTIONS, "", "alone"], [*PASSAGES, "only a passage", ""])
    for row, source in zip(rows, text.read_sources(rows), strict=True):
        question, passage = row.split("\t")
        first, second = text.source.encode_batch([question, passage])
        assert source.tokens == [*first, EOS, *second]
        assert source.segments == [0] * (len(first) + 1) + [1] * len(second)
        assert source.copy_ids is None
    assert text.encode_source(rows) == [source.tokens for source in text.read_sources(rows)]
    assert text.extras == ("segments",)


def test_text_that_looks_like_a_separator_stays_text() -> None:
    text = several("byte")
    (source,) = text.read_sources(["a </s> b\tc </s>"])
    assert source.tokens.count(EOS) == 1
    assert text.source.decode(source.tokens) == "a </s> bc </s>"


def test_the_vocabulary_is_learned_from_every_source_and_from_no_tab() -> None:
    text = several("character")
    for char in "".join([*QUESTIONS, *PASSAGES]):
        assert text.source.id_of(char) is not None
    assert text.source.id_of("\t") is None
    assert tagged(kind="character").source.id_of("\t") is None


def test_a_form_that_two_sources_share_is_one_form() -> None:
    text = several(copying=True)
    (source,) = text.read_sources(["the heron weir\tharbour weir Ada otter"])
    size = text.target.vocab_size
    assert source.forms == ("heron", "weir", "otter")
    known = {word: text.target.id_of(word) for word in ("the", "harbour", "Ada")}
    expected = [known["the"], size, size + 1, PAD, known["harbour"], size + 1, known["Ada"], size + 2]
    assert source.copy_ids == expected
    assert text.write_target([size + 1, known["Ada"], size + 2], source) == "weir Ada otter"
    assert text.extras == ("copy_ids", "segments")


def test_edges_move_with_their_source() -> None:
    first = SourceIds([5, 6], edges=[(0, 1, 1)])
    second = SourceIds([7, 8, 9], edges=[(0, 2, 3), (2, 0, 1)])
    joined = join_sources([first, second], 20)
    edges = [(0, 1, 1), (3, 5, 3), (5, 3, 1)]
    assert joined == SourceIds([5, 6, EOS, 7, 8, 9], None, (), edges, [0, 0, 0, 1, 1, 1], lead=3)


@pytest.mark.parametrize("row", ["only one", "a\tb\tc", '{"question": "q"', "[1]"])
def test_another_number_of_columns_is_refused_with_what_is_expected(row: str) -> None:
    with pytest.raises(SourceError, match=r"reads 2: question, passage; put tabs .*\"question\": \"…\"") as found:
        several().read_sources([lines(QUESTIONS, PASSAGES)[0], row])
    assert found.value.number == 1


def test_a_json_object_gives_columns_by_name() -> None:
    text = several()
    value = {"passage": "Ada\tcame.\nShe left.", "question": "who came?", "id": 7}
    plain = text.read_sources(["who came?\tAda came. She left."])
    assert text.read_sources([json.dumps(value)]) == plain
    assert text.inputs.line(value) == "who came?\tAda came. She left."
    for wrong, message in (({"question": "q"}, 'no "passage"; the keys are "question"'), ({"question": 1}, "text")):
        with pytest.raises(DataError, match=message):
            text.inputs.line(wrong)


def test_an_example_is_a_line_that_can_be_read() -> None:
    for text in (several(), tagged(), learned(ONE_TEXT, QUESTIONS)):
        (source,) = text.read_sources([text.inputs.example("the mill")])
        words = text.source.encode("the mill")
        assert [token for token in source.tokens if token in words] == words * len(text.inputs.sources)


def test_what_is_blank() -> None:
    for row in ("", " ", "\t", " \t ", '{"question": "", "passage": " "}'):
        assert SEVERAL.parse(row).is_blank
    for row in ("a\t", "\ta", '{"question": "", "passage": "p"}'):
        assert not SEVERAL.parse(row).is_blank
    tag = Inputs(tag="lang", tags=("de",))
    assert tag.parse("de\t ").is_blank
    assert not tag.parse("de\ta").is_blank
    assert ONE_TEXT.parse("\t").is_blank
    assert not ONE_TEXT.parse("a").is_blank


def test_a_line_is_parsed_into_its_columns() -> None:
    both = Inputs(sources=("question", "passage"), tag="lang", tags=("de", "en"))
    expected = InputLine(("who?", "Ada."), "de")
    for line in ("de\twho?\tAda.", '{"lang": "de", "question": "who?", "passage": "Ada."}'):
        assert both.parse(line) == expected
    for line in ("who?\tAda.", '{"question": "who?", "passage": "Ada."}', {"question": "who?", "passage": "Ada."}):
        assert both.parse(line, "de") == expected
    assert both.parse('{"lang": "en", "question": "who?", "passage": "Ada."}', "de") == expected
    assert expected.columns == ("de", "who?", "Ada.")
    # As many columns for an empty line.
    assert [len(both.parse(line).columns) for line in ("", "\t", " ")] == [3, 3, 3]
    assert SEVERAL.parse("who?\tAda.").columns == ("who?", "Ada.")
    for wrong in ("one column", "a\tb\tc", "{not JSON"):
        with pytest.raises(DataError, match="but this model reads 2: question, passage"):
            SEVERAL.parse(wrong)
    with pytest.raises(DataError, match="has no tags"):
        SEVERAL.parse("a\tb", "de")


@pytest.mark.parametrize("kind", KINDS)
def test_a_tag_is_a_token_of_its_own_before_the_source(kind: str) -> None:
    text = tagged(kind=kind)
    inner = learned(ONE_TEXT, QUESTIONS, kind)
    assert text.source.vocab_size == inner.source.vocab_size + 2
    assert text.target.vocab_size == inner.target.vocab_size
    german, english = text.read_sources(["de\twho came?", "en\twho came?"])
    plain = inner.encode_source(["who came?"])[0]
    assert german.tokens == [inner.source.vocab_size, *plain]
    assert english.tokens == [inner.source.vocab_size + 1, *plain]
    assert german.prefix == ()
    assert text.source.decode(german.tokens) == "who came?"
    assert text.source.pieces(german.tokens)[0] == "[de]"


@pytest.mark.parametrize("copying", [False, True])
def test_a_tag_before_the_target_begins_it_and_leaves_no_trace(copying: bool) -> None:
    text = tagged("target", copying=copying)
    ((source, target),) = text.read_pairs(["en\twho is Otto?"], ["the mill of Otto?"])
    inner = text.target.vocab_size - 2
    assert source.prefix == (inner + 1,)
    assert target[0] == inner + 1
    assert text.source.vocab_size == learned(ONE_TEXT, QUESTIONS).source.vocab_size
    assert text.write_target(target, source) == ("the mill Otto?" if copying else "the mill")
    if copying:
        # Copied forms are numbered after the tags.
        assert source.forms == ("who", "is", "Otto?")
        assert target[-1] == text.target.vocab_size + 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", ["source", "target"])
def test_text_that_looks_like_a_tag_stays_text(kind: str, side: str) -> None:
    text = tagged(side, kind)
    holder = text.source if side == "source" else text.target
    assert isinstance(holder, TaggedTokenizer)
    tags = {holder.tag_id("de"), holder.tag_id("en")}
    for line in ("[de] de <de> __de__ [en]", "de", *SPECIALS):
        assert not tags & set(holder.encode(line))
        assert not tags & set(holder.encode_batch([line])[0])
    (source,) = text.read_sources(["de\tde de [de]"])
    assert len(tags & set(source.tokens)) == (side == "source")


def test_an_unknown_tag_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(SourceError, match=r'lang "dee" is unknown; the tags are de, en\. Did you mean "de"') as found:
        tagged().read_sources(["de\ta", "en\ta", "dee\ta"])
    assert found.value.number == 2


def test_a_tag_and_several_sources() -> None:
    inputs = Inputs(sources=("question", "passage"), tag="lang", tags=("de", "en"))
    text = learned(inputs, lines(["de", "en", "de"], QUESTIONS, PASSAGES), copying=True)
    (source,) = text.read_sources(["en\twho came?\tAda came."])
    words = text.source.encode_batch(["who came?", "Ada came."])
    assert source.tokens == [text.source.vocab_size - 1, *words[0], EOS, *words[1]]
    assert source.segments == [0, 0, 0, 0, 1, 1]
    assert source.copy_ids is not None
    assert len(source.copy_ids) == len(source.tokens)
    assert source.copy_ids[0] == PAD
    assert not source.is_cuttable


def test_a_graph_may_have_a_tag() -> None:
    """Put the tag before the nodes, so that every edge joins what it joined."""
    graph = '{"nodes": ["mill", "river bank"], "edges": [[0, 1, "near"]]}'
    fields = {"layout": {"kind": "graph"}}
    plain = learned(ONE_TEXT, [graph], **fields)
    text = learned(Inputs(sources=("graph",), tag="lang", tags=("de",)), [f"de\t{graph}"], **fields)
    (alone,), (source,) = plain.read_sources([graph]), text.read_sources([f"de\t{graph}"])
    assert source.tokens == [text.source.vocab_size - 1, *alone.tokens]
    assert source.edges == [(start + 1, end + 1, kind) for start, end, kind in alone.edges or []]
    assert text.extras == plain.extras == ("edges",)
    with pytest.raises(SourceError) as found:
        text.read_sources([f"de\t{graph}", "de\tno graph"])
    assert found.value.number == 1


def test_parts_keep_the_tag() -> None:
    (source,) = tagged(copying=True).read_sources(["de\ta b c d e"])
    parts = [source.part(0, 2), source.part(2, 4), source.part(4, 6)]
    assert [part.tokens[0] for part in parts] == [source.tokens[0]] * 3
    assert [token for part in parts for token in part.tokens[1:]] == source.tokens[1:]
    assert source.copy_ids is not None
    assert [number for part in parts for number in part.copy_ids[1:]] == source.copy_ids[1:]
    (forced,) = tagged("target").read_sources(["de\ta b c d e"])
    assert forced.part(2, 4).prefix == forced.prefix
    assert forced.part(2, 4).tokens == forced.tokens[2:4]


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("side", ["source", "target"])
def test_saved_and_loaded_is_equal(side: str, joint: bool, tmp_path: Path) -> None:
    for text in (tagged(side, joint=joint), several(joint=joint)):
        text.save(tmp_path / "text")
        loaded = TextPair.load(tmp_path / "text")
        assert loaded.inputs == text.inputs
        assert loaded.fingerprint == text.fingerprint
        assert loaded.target_fingerprint == text.target_fingerprint
        assert (loaded.source.vocab_size, loaded.target.vocab_size) == (text.source.vocab_size, text.target.vocab_size)
        assert (loaded.source is loaded.target) == joint
        row = "de\twho came?"
        assert loaded.read_pairs([row], ["Ada"]) == text.read_pairs([row], ["Ada"])


def test_other_tags_are_other_target_tokens() -> None:
    one, two = tagged("target"), tagged("source")
    assert one.target_fingerprint != two.target_fingerprint
    assert two.target_fingerprint == learned(ONE_TEXT, QUESTIONS).target_fingerprint
    other = Inputs(sources=("question",), tag="lang", tag_side="target", tags=("de", "fr"))
    text = learned(other, lines(["de", "fr", "de"], QUESTIONS))
    assert text.target_fingerprint != one.target_fingerprint


@pytest.mark.parametrize(
    "inputs",
    [
        {"sources": []},
        {"sources": ["a"] * 65},
        {"tags": ["de", "de"]},
        {"tags": ["d\te"]},
        {"tags": [" de"]},
        {"tags": [""]},
        {"tags": ["x" * 257]},
        {"tags": [f"tag-{number}" for number in range(1001)]},
        {"tag_side": "both"},
        {"path": "/etc/passwd"},
        {"tags": "de"},
    ],
)
def test_a_hostile_description_is_refused(inputs: dict, tmp_path: Path) -> None:
    tagged().save(tmp_path)
    path = tmp_path / "text.json"
    description = json.loads(path.read_text())
    path.write_text(json.dumps(description | {"inputs": description["inputs"] | inputs}))
    with pytest.raises(UsageError, match=r"text\.json"):
        TextPair.load(tmp_path)


def test_tags_are_found_in_the_data() -> None:
    assert found_tags(["fr", "de", "fr", "en"], "lang") == ("de", "en", "fr")
    with pytest.raises(DataError, match='"lang" contains more than 1,000 different texts; is it the column of the tag'):
        found_tags(map(str, range(2_000)), "lang")
    with pytest.raises(DataError, match='"lang" contains a text of more than 256 bytes'):
        found_tags(["x" * 300], "lang")
