"""The definition of equal texts and of empty texts, for every part of calque.

Invisible characters are those of Unicode's category Cf, fillers and selectors, which are not drawn.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Form = Literal["raw", "nfc", "nfkc"]

# Category Cf without ZWJ and ZWNJ, and without the signs of Arabic, Syriac and Kaithi that are drawn.
_FORMAT = (
    "\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U00013430-\U0001343f"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f"
)
_JOINERS = "\u200c\u200d"
# Fillers, the empty Braille cell and variation selectors: category L, M or S, but a text of them alone is empty.
_FILLERS = "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\uffa0\ufe00-\ufe0f\U000e0100-\U000e01ef"
_CONTROLS = "\x00-\x1f\x7f-\x9f"
_SEEN = re.compile(f"[^\\s{_FORMAT}{_JOINERS}{_FILLERS}{_CONTROLS}]")
# A flag of a region, such as Scotland's, is spelled with tag characters.
_INVISIBLE = re.compile(f"(\U0001f3f4[\U000e0020-\U000e007e]+\U000e007f)|([{_JOINERS}])|[{_FORMAT}]")
_VIRAMA = 9


@dataclass(frozen=True)
class Identity:
    """A definition of equal texts: they are equal in the Unicode form `form`, without invisible characters.

    "raw" compares texts unchanged, as calque 0.1.0 did; runs that began with that version continue to do so.
    """

    form: Form = "nfc"

    def of(self, text: str) -> str:
        """Return the text that represents all texts equal to `text`.

        Invisible characters are removed, then the Unicode form is applied, then spaces at both ends are removed.
        """
        if self.form == "raw" or text.isascii():
            return text.strip()
        return unicodedata.normalize("NFKC" if self.form == "nfkc" else "NFC", without_invisible(text)).strip()

    def is_blank(self, text: str) -> bool:
        """Return whether `text` counts as empty."""
        return is_blank(text) if self.form != "raw" else not text or text.isspace()


NFC = Identity()


def is_blank(text: str) -> bool:
    """Return whether `text` has only spaces, control characters, invisible characters and fillers."""
    return not _SEEN.search(text)


def without_invisible(text: str) -> str:
    """Return `text` without its invisible characters."""
    if text.isascii():
        return text
    return _INVISIBLE.sub(lambda found: found[0] if _is_visible(found) else "", text)


def invisible_characters(text: str) -> Iterator[str]:
    """Yield the invisible characters of `text`: category Cf, except joiners between letters or emoji, and flags."""
    if not text.isascii():
        yield from (found[0] for found in _INVISIBLE.finditer(text) if not _is_visible(found))


def _is_visible(found: re.Match[str]) -> bool:
    """Return whether a match of the pattern changes the appearance of the text."""
    if found[1]:
        return True
    return bool(found[2]) and _joins(found.string, found.start())


def _joins(text: str, place: int) -> bool:
    """Return whether the joiner at `place` is between letters or emoji, or after a virama."""
    if not place:
        return False
    before, after = text[place - 1], text[place + 1 : place + 2]
    if unicodedata.combining(before) == _VIRAMA:
        return True
    return bool(after) and _can_be_joined(before) and _can_be_joined(after)


def _can_be_joined(character: str) -> bool:
    category = unicodedata.category(character)
    return category[0] in "LM" or category in ("So", "Sk")
