"""Hold the phrase grammar to its promises as a language: one Chinese for each English, clean and well-formed text.

The sample covers every pattern; the whole language is enumerated in the slow test.
"""

import re
from collections import defaultdict
from itertools import islice

import pytest

from calque.demo import phrasebook
from calque.demo.phrasebook.grammar import load_grammar, parse_grammar, tidy
from calque.errors import DataError

SAMPLE = 205_000
# What follows "an" in this language, by ear and not by letter: the independent side of the article check.
SPOKEN_WITH_A_VOWEL = {
    "accountant", "actor", "air", "airport", "amusement", "apple", "architect", "artist", "earache", "egg",
    "elephant", "email", "embassy", "engineer", "envelope", "hour", "older", "orange", "umbrella",
}  # fmt: skip


@pytest.fixture(scope="module")
def pairs() -> list[tuple[str, str]]:
    return phrasebook.sample_pairs(SAMPLE, seed=3)


def test_size() -> None:
    assert phrasebook.num_patterns() >= 60
    assert phrasebook.num_words() >= 400
    assert phrasebook.count_pairs() >= 200_000


def test_sample_is_distinct_and_a_function(pairs: list[tuple[str, str]]) -> None:
    assert len({english for english, _ in pairs}) == len(pairs) == SAMPLE


def test_text_is_clean(pairs: list[tuple[str, str]]) -> None:
    clean_english = re.compile(r"[A-Z][A-Za-z'-]*(?:,? [A-Za-z0-9'-]+)*[.?!]").fullmatch
    clean_chinese = re.compile(r"[\u4e00-\u9fff]+(?:，[\u4e00-\u9fff]+)?[。？！]").fullmatch
    for english, chinese in pairs:
        assert clean_english(english), english
        assert clean_chinese(chinese), chinese


def test_final_punctuation_matches(pairs: list[tuple[str, str]]) -> None:
    assert {(english[-1], chinese[-1]) for english, chinese in pairs} == {(".", "。"), ("?", "？"), ("!", "！")}


def test_sentences_are_short(pairs: list[tuple[str, str]]) -> None:
    lengths = [english.count(" ") + 1 for english, _ in pairs]
    assert max(lengths) <= 16
    assert max(len(chinese) for _, chinese in pairs) <= 25
    assert sum(4 <= length <= 12 for length in lengths) / len(pairs) > 0.9


def test_articles_go_by_sound(pairs: list[tuple[str, str]]) -> None:
    after: dict[str, set[str]] = defaultdict(set)
    text = "\n".join(english for english, _ in pairs).lower()
    for article, word in set(re.findall(r"(?<![\w'])(an?) ([\w'-]+)", text)):
        after[article].add(word)
    assert after["an"] == SPOKEN_WITH_A_VOWEL
    assert not after["a"] & SPOKEN_WITH_A_VOWEL
    assert {"university", "hospital", "yellow"} <= after["a"]


@pytest.mark.parametrize(
    ("written", "tidied"),
    [
        ("a university and a hour", "A university and an hour"),
        ("at  a  egg .", "At an egg."),
        ("grade a", "Grade a"),
        ("A onion", "An onion"),
    ],
)
def test_tidy(written: str, tidied: str) -> None:
    assert tidy(written) == tidied


def test_english_agrees(pairs: list[tuple[str, str]]) -> None:
    several = re.compile(r"\b(two|three|four|five|six|seven|eight|nine|ten) (cup|glass|book|egg|knife|ticket|kilo)\b")
    for english, _ in pairs[:40_000]:
        assert not re.search(r"\b(I|we|they|We|They) (is|has|does|wants|likes|goes|eats)\b", english), english
        assert not re.search(r"\b([Hh]e|[Ss]he|Tom|Li Ming) (are|am|have|do|want|like|go|eat)\b", english) or (
            english.startswith(("Is ", "Does ", "Do ", "Can ", "What ", "When ", "How ", "Why ", "Who "))
        ), english
        assert not several.search(english), english
        assert not re.search(r"\b([Oo]ne|[Aa]) (\w+s) (of|and) ", english.replace("glass", "")), english


def test_two_is_written_by_use(pairs: list[tuple[str, str]]) -> None:
    """两 counts; 二 stands in longer numbers, ordinals, days and floors."""
    for english, chinese in pairs:
        if "二" in chinese:
            assert re.search(r"十二|二十|二[月号楼]|星期二|第二|块二", chinese), (english, chinese)
        assert not re.search(r"两[月号楼十]|第两|十两|星期两", chinese), (english, chinese)


def test_measure_words_are_consistent() -> None:
    measures: dict[str, set[str]] = defaultdict(set)
    for word in load_grammar().words:
        if "measure" in word.forms:
            measures[word.forms["en"]].add(word.forms["measure"])
            assert word.forms["many"] != word.forms["en"]
    assert len(measures) >= 90
    assert all(len(found) == 1 for found in measures.values())


def test_one_word_has_one_chinese_within_every_slot() -> None:
    for pattern in load_grammar().patterns:
        for slot in pattern.slots:
            chinese: dict[str, set[str]] = defaultdict(set)
            for word in slot:
                chinese[word.forms["en"] + word.forms.get("tail", "")].add(str(word.forms))
            assert all(len(found) == 1 for found in chinese.values()), pattern.template


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        ("I'd like two glasses of water, please.", "我要两杯水。"),
        ("It is now half past three.", "现在三点半。"),
        ("It is now a quarter to two.", "现在差一刻两点。"),
        ("The apples are three yuan fifty a kilo.", "苹果一公斤三块五。"),
        ("Her birthday is on March 5th.", "她的生日是三月五号。"),
        ("There is an orange on the table.", "桌子上有一个橙子。"),
        ("Excuse me, where is the bank?", "请问，银行在哪儿？"),
    ],
)
def test_translate_known(english: str, chinese: str) -> None:
    assert phrasebook.translate(english) == chinese


def test_translate_agrees_with_the_sample(pairs: list[tuple[str, str]]) -> None:
    for english, chinese in pairs[:150]:
        assert phrasebook.translate(english) == chinese
        assert phrasebook.translate(english[:-1]) is None


def test_examples_to_try_are_of_the_language() -> None:
    examples = phrasebook.examples_to_try()
    assert len(set(examples)) == 6
    assert all(phrasebook.translate(example) for example in examples)


def test_counts_are_exact_and_choices_index_the_pattern() -> None:
    for pattern in load_grammar().patterns:
        if pattern.size <= 400:
            listed = [pattern.render(words)[0] for words in pattern.choices()]
            indexed = [words for place in range(pattern.size) if (words := pattern.choice(place)) is not None]
            assert len(set(listed)) == len(listed) == pattern.count == len(set(indexed))


@pytest.mark.slow
def test_whole_language_is_a_function_and_counted() -> None:
    every = (pattern.render(words) for pattern in load_grammar().patterns for words in pattern.choices())
    seen = {}
    for english, chinese in every:
        assert seen.setdefault(english, chinese) == chinese
    assert len(seen) == phrasebook.count_pairs()


WORDS = "[pet] en | zh | many={en}s\ncat | 猫\n[all] = pet\n"


@pytest.mark.parametrize(
    ("words", "patterns", "says"),
    [
        (WORDS, "home | A {pat}. | {pat}。", "pet"),
        (WORDS, "home | A {pet}.", "2 cells where 3"),
        (WORDS, "home | A {pet.colour}. | {pet}。", "no column 'colour'"),
        (WORDS, "home | A {pet}. | {cat}。", "names no slot"),
        (WORDS, "home | {pet1@pet2} {pet2}. | {pet1}。", "no column 'agree'"),
        ("cat | 猫\n", "", "below"),
        (WORDS + "[pet] en\n", "", "already"),
        ("[pet] en | zh\ncat\n", "", "'zh'"),
        ("[pet] en | zh\ncat | 猫 | 只\n", "", "3 cells"),
        (WORDS + "[more] = pets\n", "", 'Did you mean "pet"?'),
    ],
)
def test_mistakes_in_the_data_are_named(words: str, patterns: str, says: str) -> None:
    with pytest.raises(DataError) as caught:
        parse_grammar(words, patterns)
    assert says in str(caught.value)
    assert re.match(r"(words|patterns)\.txt:\d+: ", str(caught.value))


def test_one_line_is_enough_to_extend() -> None:
    grammar = parse_grammar(
        WORDS.replace("猫\n", "猫\nowl | 猫头鹰\n"), "home | A {pet} and two {all.many}. | {pet}、{all}。"
    )
    (pattern,) = grammar.patterns
    assert sorted(pattern.render(words)[0] for words in islice(pattern.choices(), 9)) == [
        "A cat and two owls.",
        "An owl and two cats.",
    ]
