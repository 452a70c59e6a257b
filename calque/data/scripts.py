"""Tell the script that a text is written in, to notice swapped columns and lines in another language.

Only blocks in wide use are told apart; a character outside them counts as "other".
"""

import bisect
import functools
import re
from collections import Counter

# Start of each block of letters (Unicode 15) and its script; "" where no letters of a script begin.
_BLOCKS = [
    (0x0041, "Latin"), (0x0250, "Latin"), (0x02B0, ""), (0x0370, "Greek"), (0x0400, "Cyrillic"), (0x0530, "Armenian"),
    (0x0590, "Hebrew"), (0x0600, "Arabic"), (0x0700, "other"), (0x0750, "Arabic"), (0x0780, "other"),
    (0x08A0, "Arabic"), (0x0900, "Devanagari"), (0x0980, "Bengali"), (0x0A00, "Gurmukhi"), (0x0A80, "Gujarati"),
    (0x0B00, "other"), (0x0B80, "Tamil"), (0x0C00, "Telugu"), (0x0C80, "Kannada"), (0x0D00, "Malayalam"),
    (0x0D80, "Sinhala"), (0x0E00, "Thai"), (0x0E80, "Lao"), (0x0F00, "Tibetan"), (0x1000, "Myanmar"),
    (0x10A0, "Georgian"), (0x1100, "Hangul"), (0x1200, "Ethiopic"), (0x13A0, "other"), (0x1780, "Khmer"),
    (0x1800, "Mongolian"), (0x18B0, "other"), (0x1C80, "Cyrillic"), (0x1C90, "Georgian"), (0x1CC0, "other"),
    (0x1D00, "Latin"), (0x1F00, "Greek"), (0x2000, ""), (0x2C60, "Latin"), (0x2C80, "other"), (0x2DE0, "Cyrillic"),
    (0x2E00, ""), (0x2E80, "Han"), (0x3000, ""), (0x3040, "Kana"), (0x3100, "other"), (0x3130, "Hangul"),
    (0x3190, "other"), (0x31F0, "Kana"), (0x3200, ""), (0x3400, "Han"), (0x4DC0, ""), (0x4E00, "Han"),
    (0xA000, "other"), (0xA720, "Latin"), (0xA800, "other"), (0xAC00, "Hangul"), (0xD7B0, ""), (0xF900, "Han"),
    (0xFB00, "Latin"), (0xFB13, "Armenian"), (0xFB1D, "Hebrew"), (0xFB50, "Arabic"), (0xFE00, ""), (0xFE70, "Arabic"),
    (0xFF00, ""), (0xFF21, "Latin"), (0xFF5B, ""), (0xFF66, "Kana"), (0xFFA0, "Hangul"), (0xFFE0, ""),
    (0x10000, "other"), (0x1B000, "Kana"), (0x1B170, "other"), (0x1F000, ""), (0x20000, "Han"), (0x323B0, "other"),
]  # fmt: skip
_STARTS = [start for start, _ in _BLOCKS]
# A character of these stands for about three letters, so a name in Latin letters does not outweigh the sentence.
_DENSE = {"Han", "Kana", "Hangul"}
# The first letters tell the script as well as all of them, and much faster.
_LETTERS = 48
_ASCII_LETTER = re.compile("[A-Za-z]")


@functools.lru_cache(maxsize=65536)
def script_of_letter(character: str) -> str:
    """Return the script of one character, or "" for what is no letter."""
    if not character.isalpha():
        return ""
    index = bisect.bisect_right(_STARTS, ord(character)) - 1
    return _BLOCKS[index][1] if index >= 0 else ""


def script_of(text: str) -> str:
    """Return the script of most letters at the start of `text`, "none" without letters.

    Kana wins over Han where both are, since Japanese mixes them and Chinese does not.
    """
    text = text[:_LETTERS]
    if text.isascii():
        return "Latin" if _ASCII_LETTER.search(text) else "none"
    counts = Counter(map(script_of_letter, text))
    del counts[""]
    for script in counts.keys() & _DENSE:
        counts[script] *= 3
    if not counts:
        return "none"
    script, _ = max(counts.items(), key=lambda item: (item[1], item[0]))
    return "Kana" if script == "Han" and "Kana" in counts else script
