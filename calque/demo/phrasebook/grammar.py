"""Read the words and patterns of the phrase grammar and write sentences from them.

Both languages come from one choice of words, so a pair is right by construction; adding a line adds sentences.
"""

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources

from calque.errors import DataError, did_you_mean

# Spelt with a vowel but spoken with a consonant, and the other way round: the words that "a" and "an" go by sound for.
_SOUNDS_CONSONANT = ("univ", "unif", "unit", "use", "usu", "eu", "one", "once")
_SOUNDS_VOWEL = ("hour", "honest", "heir")
_SLOT = re.compile(r"\{(\w+)(?:([.@])(\w+))?\}")


@dataclass(frozen=True, eq=False)
class Word:
    """One line of the words: its forms by column. Compared by identity."""

    forms: Mapping[str, str]

    @property
    def repeats(self) -> bool:
        """Return whether the word may fill two slots of one sentence."""
        return "again" in self.forms


@dataclass(frozen=True)
class Segment:
    """A stretch of a template: fixed text, or the form `column` of a slot (`agrees`: the slot that names it)."""

    text: str
    slot: int = -1
    column: str = ""
    agrees: int = -1

    def form(self, words: Sequence[Word]) -> str:
        """Return the text that this segment takes with `words`, one a slot."""
        if self.slot < 0:
            return self.text
        column = self.column if self.agrees < 0 else words[self.agrees].forms["agree"]
        return words[self.slot].forms[column]


@dataclass(frozen=True)
class Pattern:
    """One sentence pattern: its slots' words and the templates of both languages."""

    topic: str
    template: str
    slots: tuple[tuple[Word, ...], ...]
    english: tuple[Segment, ...]
    chinese: tuple[Segment, ...]

    @cached_property
    def size(self) -> int:
        """Return the number of choices, those that name one word twice included."""
        return math.prod(len(slot) for slot in self.slots)

    def choice(self, index: int) -> tuple[Word, ...] | None:
        """Return choice `index` (from 0, below `size`), one word a slot; None where one word comes twice."""
        words = []
        for slot in self.slots:
            index, place = divmod(index, len(slot))
            words.append(slot[place])
        return tuple(words) if not self.clashing or _distinct(words) else None

    def choices(self) -> Iterator[tuple[Word, ...]]:
        """Yield every choice of words."""
        return (words for words in itertools.product(*self.slots) if not self.clashing or _distinct(words))

    def render(self, words: Sequence[Word]) -> tuple[str, str]:
        """Return the English and the Chinese sentence of `words`, one a slot."""
        english = tidy("".join([segment.form(words) for segment in self.english]))
        return english, "".join([segment.form(words) for segment in self.chinese])

    @cached_property
    def clashing(self) -> tuple[tuple[Word, ...], ...]:
        """Return the slots that share a word with another slot."""
        places = range(len(self.slots))
        return tuple(
            self.slots[one] for one in places if any(_share(self.slots[one], self.slots[n]) for n in places if n != one)
        )

    @cached_property
    def count(self) -> int:
        """Return the number of sentences."""
        free = self.size // math.prod(len(slot) for slot in self.clashing)
        return free * sum(_distinct(words) for words in itertools.product(*self.clashing))

    @cached_property
    def key_slots(self) -> tuple[int, ...]:
        """Return the places of the two slots with most words: what a combination is held out by (fewer slots: ())."""
        if len(self.slots) < 2:
            return ()
        ranked = sorted(range(len(self.slots)), key=lambda place: -len(self.slots[place]))
        return tuple(sorted(ranked[:2]))


@dataclass(frozen=True)
class Grammar:
    """The patterns and the words (one a line of the file, joined categories not counted again)."""

    patterns: tuple[Pattern, ...]
    words: tuple[Word, ...]


def tidy(english: str) -> str:
    """Return `english` with one space between words, "an" where it is spoken so, and a first capital."""
    words = english.split()
    if "a" in words or "A" in words:
        for place, word in enumerate(words[:-1]):
            if word in ("a", "A") and _takes_an(words[place + 1].lower()):
                words[place] = word + "n"
    text = " ".join(words).replace(" .", ".")
    return text[0].upper() + text[1:]


def _takes_an(word: str) -> bool:
    return word.startswith(_SOUNDS_VOWEL) or (word[0] in "aeiou" and not word.startswith(_SOUNDS_CONSONANT))


def _distinct(words: Sequence[Word]) -> bool:
    once = [word for word in words if not word.repeats]
    return len(set(once)) == len(once)


def _share(one: Sequence[Word], other: Sequence[Word]) -> bool:
    return not {word for word in one if not word.repeats}.isdisjoint(other)


@cache
def load_grammar() -> Grammar:
    """Return the grammar in this package's `words.txt` and `patterns.txt`."""
    folder = resources.files(__package__)
    return parse_grammar(
        folder.joinpath("words.txt").read_text(encoding="utf-8"),
        folder.joinpath("patterns.txt").read_text(encoding="utf-8"),
    )


def parse_grammar(words: str, patterns: str) -> Grammar:
    """Return the grammar written in `words` and `patterns`; their comments say how. Raises DataError."""
    categories, every = _read_words(words)
    read = [_read_pattern(cells, categories, number) for number, cells in _lines(patterns, "patterns.txt", 3)]
    return Grammar(tuple(read), tuple(every))


def _lines(text: str, file: str, cells: int | None = None) -> Iterator[tuple[int, list[str]]]:
    """Yield (number, cells) of every line that is not blank and no comment."""
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        parts = [part.strip() for part in line.split("|")]
        if cells is not None and len(parts) != cells:
            raise DataError(f"{len(parts)} cells where {cells} belong: separate them by ' | '.", file, number)
        yield number, parts


def _read_words(text: str) -> tuple[dict[str, tuple[Word, ...]], list[Word]]:
    """Return the words by category, joined categories included, and all words once."""
    categories: dict[str, tuple[Word, ...]] = {}
    every: list[Word] = []
    name, columns = "", list[str]()
    for number, cells in _lines(text, "words.txt"):
        header = re.fullmatch(r"\[(\w+)\]\s*(=?)\s*(.*)", cells[0])
        if header is None:
            if not columns:
                raise DataError("a word must stand below the line '[category] column | column'.", "words.txt", number)
            word = _read_word(cells, columns, number)
            every.append(word)
            categories[name] += (word,)
            continue
        name, joins, rest = header.groups()
        if name in categories:
            raise DataError(f"the category [{name}] is there already.", "words.txt", number)
        parts = [_category(part, categories, "words.txt", number) for part in rest.split()] if joins else []
        categories[name] = tuple(itertools.chain.from_iterable(parts))
        columns = [] if joins else [rest, *cells[1:]]
    return categories, every


def _read_word(cells: Sequence[str], columns: Sequence[str], number: int) -> Word:
    forms: dict[str, str] = {}
    if len(cells) > len(columns):
        raise DataError(f"{len(cells)} cells, but the category has {len(columns)} columns.", "words.txt", number)
    for cell, column in itertools.zip_longest(cells, columns):
        name, _, default = column.partition("=")
        value = cell if cell is not None else default.format_map(forms)
        if not value:
            raise DataError(f"nothing for the column {name!r}: fill it in, '-' if it is empty.", "words.txt", number)
        forms[name] = "" if value == "-" else value
    return Word(forms)


def _category(name: str, categories: Mapping[str, tuple[Word, ...]], file: str, number: int) -> tuple[Word, ...]:
    if name not in categories:
        raise DataError(f"no category [{name}].{did_you_mean(name, categories)}", file, number)
    return categories[name]


def _read_pattern(cells: Sequence[str], categories: Mapping[str, tuple[Word, ...]], number: int) -> Pattern:
    topic, english, chinese = cells
    names = list(dict.fromkeys(match[1] for match in _SLOT.finditer(english)))
    slots = tuple(_category(name.rstrip("0123456789"), categories, "patterns.txt", number) for name in names)
    pattern = Pattern(topic, english, slots, _segments(english, names, "en"), _segments(chinese, names, "zh"))
    for segment in (*pattern.english, *pattern.chinese):
        _check(segment, slots, number)
    return pattern


def _segments(template: str, names: Sequence[str], column: str) -> tuple[Segment, ...]:
    segments, end = [], 0
    for match in _SLOT.finditer(template):
        segments.append(Segment(template[end : match.start()]))
        name, kind, detail = match.groups()
        place = names.index(name) if name in names else len(names)
        agrees = (names.index(detail) if detail in names else len(names)) if kind == "@" else -1
        segments.append(Segment(match[0], place, detail if kind == "." else column, agrees))
        end = match.end()
    return tuple(segment for segment in (*segments, Segment(template[end:])) if segment.text)


def _check(segment: Segment, slots: Sequence[tuple[Word, ...]], number: int) -> None:
    """Refuse a segment that names no slot of the English side, or a form that one of the slot's words lacks."""
    if segment.slot < 0:
        return
    if max(segment.slot, segment.agrees) >= len(slots):
        raise DataError(f"{segment.text} names no slot of the English side.", "patterns.txt", number)
    columns = (
        {segment.column} if segment.agrees < 0 else {word.forms.get("agree", "agree") for word in slots[segment.agrees]}
    )
    for word in slots[segment.slot]:
        for column in columns - word.forms.keys():
            message = f"{segment.text}: the word {word.forms.get('en', '')!r} has no column {column!r}."
            raise DataError(message, "patterns.txt", number)
