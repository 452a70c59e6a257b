"""EM, F1, ROUGE by characters, and the error rates of words written as symbols."""

import random
import re
from difflib import SequenceMatcher

import jiwer
import pytest

from calque.metrics import metric_named
from calque.metrics.rouge import words_of

CHINESE = "老磨坊在河边，轮子慢慢地转。水车12号abc"


def random_texts(seed: int, count: int = 300) -> list[str]:
    draw = random.Random(seed)
    return ["".join(draw.choices(CHINESE, k=draw.randint(1, 12))) for _ in range(count)]


def longest_run(left: list[str], right: list[str]) -> int:
    return SequenceMatcher(None, left, right, autojunk=False).find_longest_match().size


def test_f1_of_chinese_answers_is_that_of_the_longest_common_run() -> None:
    metric = metric_named("f1", "zh")
    for output, answer in zip(random_texts(1), random_texts(2), strict=True):
        ours, theirs = words_of(output, "characters"), words_of(answer, "characters")
        run = longest_run(ours, theirs)
        expected = 200 * run / (len(ours) + len(theirs)) if ours or theirs else 100.0
        if not theirs:
            # Marks alone are no answer.
            expected = 0.0 if ours else 100.0
        assert metric.score([output], [[answer]]).value == pytest.approx(expected), (output, answer)


def test_letters_of_scripts_without_spaces_are_words() -> None:
    assert words_of("老磨坊 the OLD mill12，です", "characters") == [
        "老",
        "磨",
        "坊",
        "the",
        "old",
        "mill12",
        "で",
        "す",
    ]
    assert words_of("Die Mühle_am Fluß", "words") == ["die", "mühle", "am", "fluß"]
    assert words_of("Die Mühle", "english") == ["die", "m", "hle"]


def test_rouge_by_characters_is_rouge_of_spaced_characters() -> None:
    by_characters, by_words = metric_named("rouge2", "zh"), metric_named("rouge2", "de")
    for output, answer in zip(random_texts(3), random_texts(4), strict=True):
        spaced = [" ".join(words_of(text, "characters")) for text in (output, answer)]
        value = by_characters.score([output], [[answer]]).value
        assert value == pytest.approx(by_words.score([spaced[0]], [[spaced[1]]]).value)


@pytest.mark.parametrize(
    ("output", "answers", "em"),
    [
        ("The old mill.", ["old mill"], 100),
        ("an old mill", ["the mill", "Old Mill!"], 100),
        ("mill", ["mills"], 0),
        ("", ["", "the"], 100),
        ("mill", [""], 0),
    ],
)
def test_em_after_normalisation(output: str, answers: list[str], em: float) -> None:
    assert metric_named("em").score([output], [answers]).value == em


def test_em_of_chinese_ignores_marks_and_spaces() -> None:
    assert metric_named("em", "zh").score(["老 磨坊。"], [["老磨坊"]]).value == 100
    assert metric_named("em").score(["老 磨坊。"], [["老磨坊"]]).value == 0


def test_f1_is_at_least_em_and_a_better_reference_helps() -> None:
    draw = random.Random(6)
    words = ["mill", "old", "river", "the", "wheel"]
    texts = [" ".join(draw.choices(words, k=draw.randint(1, 4))) for _ in range(200)]
    outputs, first, second = texts[:60], texts[60:120], texts[120:180]
    alone = [[answer] for answer in first]
    both = [list(pair) for pair in zip(first, second, strict=True)]
    for references in (alone, both):
        em = metric_named("em").score(outputs, references).value
        assert metric_named("f1").score(outputs, references).value >= em
    for name in ("em", "f1", "rouge1", "rouge2", "rougeL", "rougeLsum"):
        metric = metric_named(name)
        assert metric.score(outputs, both).value >= metric.score(outputs, alone).value


def test_wer_of_words_written_as_symbols_is_the_share_of_wrong_words() -> None:
    outputs, answers = ["m ih l", "r ih v er", "w iy"], ["m ih l", "r ih v er z", "w iy l"]
    references = [[answer] for answer in answers]
    wrong = metric_named("wer", line_is_word=True).score(outputs, references)
    assert wrong.value == pytest.approx(200 / 3)
    assert wrong.value == pytest.approx(100 - metric_named("exact").score(outputs, references).value)
    assert not wrong.higher_is_better
    symbols = metric_named("per").score(outputs, references).value
    assert symbols == pytest.approx(100 * jiwer.wer(answers, outputs))
    assert symbols == metric_named("wer").score(outputs, references).value


def test_signatures_name_the_words_that_were_counted() -> None:
    for language, split in (("en", "english"), ("de", "words"), ("zh", "characters"), (None, "words")):
        signature = metric_named("rouge1", language).score(["a"], [["a"]]).signature
        assert re.search(rf"\btok:{split}\b", signature)
    assert "norm:squad" in metric_named("em").score(["a"], [["a"]]).signature
    assert "norm:characters" in metric_named("em", "ja").score(["a"], [["a"]]).signature
