"""One table of forms for all members of an ensemble; members that write with other tokens are refused."""

import pytest

from calque.errors import UsageError
from calque.ids import PAD
from calque.text.inputs import InputLine
from calque.text.pair import TextConfig, TextPair, train_text
from calque.text.sharing import read_shared, require_one_target, share_forms
from calque.text.source import SourceIds

SOURCES = ["the river runs to the sea", "a ship leaves the harbour", "the harbour lies by the river"]
TARGETS = ["go river sea", "leave ship harbour", "lie harbour river"]
V = 20


def text(lines: list[str] = SOURCES, targets: list[str] = TARGETS, **fields) -> TextPair:
    """Learn a pair of word tokenizers that notes what can be copied."""
    word = {"source": {"kind": "word"}, "target": {"kind": "word"}, "copying": True}
    return train_text(TextConfig.model_validate(word | fields), lambda: iter(lines), lambda: iter(targets))


def test_the_same_form_has_the_same_number_everywhere() -> None:
    first = SourceIds([5, 6, 7], [V, 4, V + 1], ("oak", "elm"))
    second = SourceIds([5, 6, 7, 8], [V, V + 1, PAD, V + 2], ("elm", "ash", "oak"))
    shared = share_forms((first, second, SourceIds([9])), V)
    assert shared.forms == ("oak", "elm", "ash")
    assert shared.members[0].copy_ids == [V, 4, V + 1]
    assert shared.members[1].copy_ids == [V + 1, V + 2, PAD, V]
    assert shared.members[2] == SourceIds([9])


def test_every_copy_means_the_text_that_its_member_read() -> None:
    """Two vocabularies of the source, one of them small: a copied id is the same word for both."""
    small = text(source={"kind": "word", "vocab_size": 6})
    whole = text()
    line = "the heron leaves the harbour by the weir"
    (shared,) = read_shared([small, whole], [InputLine((line,))])
    for own, source in zip((small, whole), shared.members, strict=True):
        assert source.tokens == own.encode_source([line])[0]
        assert source.copy_ids is not None
        assert [own.write_target([number], source) for number in source.copy_ids if number] == [
            word for word, number in zip(line.split(), source.copy_ids, strict=True) if number
        ]
    assert shared.members[0].copy_ids == shared.members[1].copy_ids
    assert shared.forms == ("the", "heron", "leaves", "by", "weir")


def test_a_member_without_copying_reads_tokens_alone() -> None:
    plain = text(copying=False, source={"kind": "character"})
    (shared,) = read_shared([plain, text()], [InputLine(("a heron",))])
    assert shared.members[0].copy_ids is None
    assert shared.forms == ("a", "heron")


def test_normalised_otherwise_is_another_form() -> None:
    """Where members bring the text into unlike Unicode forms each copies what it read."""
    (shared,) = read_shared([text(normalise="none"), text(normalise="nfkc")], [InputLine(("ﬁr oak",))])
    assert shared.forms == ("ﬁr", "oak", "fir")
    assert shared.members[0].copy_ids != shared.members[1].copy_ids


def test_other_target_tokens_are_refused_by_name() -> None:
    other = text(targets=["go", "leave"])
    require_one_target([text(), text(copying=False, source={"kind": "byte"})], ["runs/a", "runs/b"])
    with pytest.raises(UsageError, match=r"runs/a and runs/c .* kind word"):
        require_one_target([text(), text(), other], ["runs/a", "runs/b", "runs/c"])
    bytes_only = text(target={"kind": "byte"})
    with pytest.raises(UsageError, match="kind byte"):
        require_one_target([text(), bytes_only], ["a", "b"])


def test_a_joint_vocabulary_counts_by_what_it_holds() -> None:
    joint = text(joint=True)
    apart = text(lines=SOURCES + TARGETS, targets=SOURCES + TARGETS)
    assert joint.target_fingerprint == apart.target_fingerprint
    assert joint.fingerprint != apart.fingerprint
