"""Guess the script and the languages of a data set, for defaults and scores.

The guesses use only the names of characters and files; the caller prints both with their reason.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from itertools import islice
from pathlib import PurePath

import numpy as np

UNKNOWN_SCRIPT = "Unknown"

# First words of Unicode names that name a script; "HIRAGANA" and "KATAKANA" are joined, "CJK" is Han.
_SCRIPT_NAMES = (
    "LATIN CYRILLIC GREEK ARMENIAN GEORGIAN HEBREW ARABIC SYRIAC THAANA NKO ETHIOPIC CHEROKEE MONGOLIAN TIFINAGH "
    "DEVANAGARI BENGALI GURMUKHI GUJARATI ORIYA TAMIL TELUGU KANNADA MALAYALAM SINHALA OL MEETEI "
    "THAI LAO KHMER MYANMAR TIBETAN JAVANESE BALINESE SUNDANESE HANGUL BOPOMOFO YI COPTIC GOTHIC RUNIC OGHAM"
)
_SCRIPTS = frozenset(_SCRIPT_NAMES.split())
_KANA = frozenset(("HIRAGANA", "KATAKANA", "HIRAGANA-KATAKANA"))
_WIDTHS = ("HALFWIDTH ", "FULLWIDTH ")
_UNSPACED = frozenset(("Han", "Japanese", "Thai", "Lao", "Khmer", "Myanmar"))
# One such character counts as three letters, so that a link in a Chinese sentence does not outweigh the sentence.
_WEIGHTS = {"Han": 3, "Kana": 3, "Hangul": 3}
_JAPANESE_SHARE = 0.05
_ENOUGH_CHARACTERS = 200_000
_FIRST_CHARACTERS = 48
_COUNTED_AT_ONCE = 1000
_ASCII_LETTER = re.compile("[A-Za-z]")

# Common languages by ISO 639-1; and by ISO 639-3 where there is such a code. Codes that mostly mean a country in file
# names (ch, tw) are left out.
_LANGUAGES = (
    "af afr|am amh|ar ara|az aze|be bel|bg bul|bn ben|bo bod|bs bos|ca cat|cs ces|cy cym|da dan|de deu|el ell|en eng|"
    "eo epo|es spa|et est|eu eus|fa fas|fi fin|fo fao|fr fra|ga gle|gd gla|gl glg|gu guj|ha hau|he heb|hi hin|hr hrv|"
    "hu hun|hy hye|id ind|ig ibo|is isl|it ita|ja jpn|jv jav|ka kat|kk kaz|km khm|kn kan|ko kor|ku kur|ky kir|la lat|"
    "lb ltz|lo lao|lt lit|lv lav|mg mlg|mi mri|mk mkd|ml mal|mn mon|mr mar|ms msa|mt mlt|my mya|nb nob|ne nep|nl nld|"
    "nn nno|no nor|or ori|pa pan|pl pol|ps pus|pt por|ro ron|ru rus|rw kin|sd snd|si sin|sk slk|sl slv|so som|sq sqi|"
    "sr srp|su sun|sv swe|sw swa|ta tam|te tel|tg tgk|th tha|tk tuk|tl tgl|tr tur|tt tat|uk ukr|ur urd|uz uzb|vi vie|"
    "wo wol|xh xho|yi yid|yo yor|zh zho|zh cmn|zu zul"
)
_CODES = {code: pair.split()[0] for pair in _LANGUAGES.split("|") for code in pair.split()}
_PAIR = re.compile(r"([a-z]{2,3})[-_]([a-z]{2,3})")


def dominant_script(texts: Iterable[str]) -> str:
    """Return the script of most letters, as Unicode names it: "Latin", "Han", "Thai", …

    Kana and Han are "Japanese"; a text without letters is "Unknown". Reads the first 200,000 characters at most.
    """
    read, left = [], _ENOUGH_CHARACTERS
    for text in texts:
        read.append(text[:left])
        left -= len(text)
        if left <= 0:
            break
    counts: Counter[str] = Counter()
    for char, count in count_characters(read).items():
        counts[_script(char)] += count
    del counts[""]
    weights = {script: count * _WEIGHTS.get(script, 1) for script, count in counts.items()}
    # Chinese text contains a の now and then; Japanese text nearly always contains kana.
    if weights.get("Kana", 0) > _JAPANESE_SHARE * weights.get("Han", 0):
        weights["Japanese"] = weights.pop("Kana") + weights.pop("Han", 0)
    weights.pop("Kana", None)
    return max(sorted(weights), key=lambda script: weights[script], default=UNKNOWN_SCRIPT)


def count_characters(texts: Iterable[str]) -> Counter[str]:
    """Return the number of occurrences of each character, in a twentieth of the time of `Counter`."""
    counts: Counter[str] = Counter()
    waiting = iter(texts)
    while block := list(islice(waiting, _COUNTED_AT_ONCE)):
        raw = "".join(block).encode("utf-32-le", "surrogatepass")
        codes, found = np.unique(np.frombuffer(raw, "<u4"), return_counts=True)
        counts.update(dict(zip(map(chr, codes.tolist()), found.tolist(), strict=True)))
    return counts


def script_of(text: str) -> str:
    """Return the script of most letters at the start of one text."""
    text = text[:_FIRST_CHARACTERS]
    if text.isascii():
        return "Latin" if _ASCII_LETTER.search(text) else UNKNOWN_SCRIPT
    return dominant_script([text])


def is_unspaced(script: str) -> bool:
    """Return whether the script is written without spaces between words."""
    return script in _UNSPACED


def guess_languages(name: str) -> tuple[str, str] | None:
    """Return source and target as ISO 639-1 codes from a file name such as `train.en-de.tsv`, or None.

    Both codes must be known and different, and be between dots: `my-data.tsv` and `pt-br.tsv` give None.
    """
    for part in PurePath(name).name.lower().split("."):
        found = _PAIR.fullmatch(part)
        if found and found[1] in _CODES and found[2] in _CODES and _CODES[found[1]] != _CODES[found[2]]:
            return _CODES[found[1]], _CODES[found[2]]
    return None


@lru_cache(maxsize=65536)
def _script(char: str) -> str:
    """Return the script of a letter or mark, "Kana" for both Japanese syllabaries, "" for other characters."""
    if unicodedata.category(char)[0] not in "LM":
        return ""
    name = unicodedata.name(char, "")
    for width in _WIDTHS:
        name = name.removeprefix(width)
    first = name.split(" ")[0]
    if first == "CJK":
        return "Han"
    if first in _KANA:
        return "Kana"
    return first.title() if first in _SCRIPTS else ""
