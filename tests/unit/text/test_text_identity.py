"""One identity of a text: which texts are the same, which characters are invisible, and which texts are empty."""

import sys
import unicodedata

import pytest

from calque.text.identity import NFC, Identity, invisible_characters, is_blank, without_invisible

CHARACTERS = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
# Signs of category Cf that are drawn: Arabic number signs, the end of an ayah, abbreviation marks.
DRAWN = set("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd")


def test_invisible_is_category_cf() -> None:
    """Agree with the Unicode database about every character, joiners and drawn signs aside."""
    format_characters = {char for char in CHARACTERS if unicodedata.category(char) == "Cf"}
    found = {char for char in CHARACTERS if list(invisible_characters(f"a{char}b")) == [char]}
    assert format_characters - DRAWN - set("\u200c\u200d") <= found
    assert found - format_characters <= {char for char in found if unicodedata.category(char) == "Cn"}


@pytest.mark.parametrize(
    "text",
    [
        "می\u200cخواهم",
        "क्\u200dष",
        "ක්\u200d",
        "👩\u200d🚀",
        "👩🏽\u200d🚀",
        "🏳\ufe0f\u200d🌈",
        "🏴\U000e0067\U000e0062\U000e007f",
    ],
)
def test_joiners_that_join_are_text(text: str) -> None:
    """Keep a joiner between letters or emoji, or after a virama, and the flag of a region."""
    assert not list(invisible_characters(text))
    assert NFC.of(text) == text
    assert not is_blank(text)


@pytest.mark.parametrize("text", ["\u200dword", "word\u200d", "one \u200c two", "one\u200d, two", "\u200d\u200d"])
def test_joiners_that_join_nothing_are_invisible(text: str) -> None:
    """Drop a joiner at an end of a text, beside a space or beside punctuation."""
    assert len(list(invisible_characters(text))) == text.count("\u200d") + text.count("\u200c")
    assert NFC.of(text) == text.replace("\u200d", "").replace("\u200c", "")


@pytest.mark.parametrize(
    "other",
    [
        "the caf\u00e9",
        "the cafe\u0301",
        "the ca\u00adfe\u0301",
        "\ufeffthe café\u200b",
        "  the café\r\n",
        "the cafe\u200b\u0301",
    ],
)
def test_what_is_the_same_text(other: str) -> None:
    """Compare texts composed, without invisible characters, and without spaces at the ends."""
    assert NFC.of(other) == "the café"


@pytest.mark.parametrize("other", ["The café", "the  café", "the\u00a0café", "the cafe", "ｔhe café"])
def test_what_is_another_text(other: str) -> None:
    """Keep apart what a model reads as other letters."""
    assert NFC.of(other) != "the café"


def test_the_form_is_the_model_s() -> None:
    """Compare in the Unicode form that the model reads; texts in form NFC keep their identity of 0.1.0."""
    assert Identity("nfkc").of("ｔhe ﬁsh") == "the fish" != NFC.of("ｔhe ﬁsh")
    assert Identity("raw").of(" e\u0301\u200b ") == "e\u0301\u200b"
    for text in ["a house ", "上海\u3000见", "l\u00a0été", "שלום", "क्\u200dष"]:
        assert NFC.of(text) == Identity("raw").of(text) == text.strip()


def test_identity_is_its_own_identity() -> None:
    """Change nothing the second time, whatever stands next to each other."""
    parts = ["a", "e", "\u0301", "\u200b", "\u200d", "\u200c", "🏽", "👩", " ", "\u094d", "\ufeff", "\ufe0f"]
    for first in parts:
        for second in parts:
            for third in parts:
                text = f"x{first}{second}{third}e\u0301"
                assert NFC.of(NFC.of(text)) == NFC.of(text)
                assert without_invisible(without_invisible(text)) == without_invisible(text)


EMPTY = ["", " ", "\t", "\u3000", "\u2028", "\xa0", "\x85", "\x1c", "\x07", "\u200b", "\ufeff \u200b", "\u200d"]
EMPTY += ["\u00ad\u00ad", "\u202e\u202c", "\u2060\u2063", "\u3164", "\u115f\u1160", "\uffa0", "\u2800\u2800", "\ufe0f"]
EMPTY += ["\u034f", "\u180e", "\U000e0001\U000e0061"]


@pytest.mark.parametrize("text", EMPTY)
def test_what_shows_nothing_is_empty(text: str) -> None:
    """Take spaces of every script, controls, format characters and fillers for an empty text."""
    assert is_blank(text)


@pytest.mark.parametrize(
    "text", ["a", ".", "\u0301", "\ufffd", "\ue000", "😀", "\u200ba", "\u06dd", "0", "_", "\u20dd"]
)
def test_what_shows_something_is_text(text: str) -> None:
    """Take one visible character for text, whatever surrounds it."""
    assert not is_blank(text)
    assert not is_blank(f"\u3164 {text}\u200b")


def test_old_runs_keep_their_rule_of_empty_texts() -> None:
    """Count only white space as empty in runs of calque 0.1.0."""
    assert Identity("raw").is_blank(" \u3000")
    assert not Identity("raw").is_blank("\u200b")
    assert NFC.is_blank("\u200b")
