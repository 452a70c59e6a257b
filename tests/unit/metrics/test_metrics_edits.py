"""Error rates against jiwer, an independent package; exact match against what a reader would say."""

import random
import time
import unicodedata

import jiwer
import pytest

from calque.metrics import METRIC_NAMES, metric_named
from calque.metrics.edits import edit_distances


def lines(num_lines, seed):
    draw = random.Random(seed)
    words = ["a", "bc", "def", "ab", "ça", "你好", "😀", "e"]
    return [" ".join(draw.choice(words) for _ in range(draw.randint(1, 30))) for _ in range(num_lines)]


def test_rates_equal_jiwer():
    outputs, answers = lines(60, 1), lines(60, 2)
    outputs[5] = ""
    references = [[answer] for answer in answers]
    assert metric_named("wer").score(outputs, references).value == pytest.approx(100 * jiwer.wer(answers, outputs))
    assert metric_named("cer").score(outputs, references).value == pytest.approx(100 * jiwer.cer(answers, outputs))


def test_each_distance_equals_the_textbook_recursion():
    draw = random.Random(3)
    pairs = [tuple("".join(draw.choices("abc", k=draw.randint(0, 9))) for _ in range(2)) for _ in range(200)]

    def textbook(left, right):
        row = list(range(len(right) + 1))
        for i, symbol in enumerate(left, start=1):
            previous, row = row, [i]
            for j, other in enumerate(right, start=1):
                row.append(min(previous[j] + 1, row[-1] + 1, previous[j - 1] + (symbol != other)))
        return row[-1]

    assert edit_distances(pairs).tolist() == [textbook(*pair) for pair in pairs]


def test_the_best_reference_of_each_line_counts():
    outputs, first, second = lines(30, 4), lines(30, 5), lines(30, 6)
    both = metric_named("cer").statistics(outputs, [list(pair) for pair in zip(first, second, strict=True)])
    each = [metric_named("cer").statistics(outputs, [[answer] for answer in answers]) for answers in (first, second)]
    rates = [lines.values[:, 0] / lines.values[:, 1] for lines in (both, *each)]
    assert rates[0] == pytest.approx(rates[1].clip(max=rates[2]))
    uneven = metric_named("cer").score(["abc", "abd"], [["xyz", "abc"], ["abc"]])
    assert uneven.value == pytest.approx(100 / 6)
    assert "nrefs:var" in uneven.signature


def test_empty_texts_have_a_rate():
    metric = metric_named("wer")
    assert metric.score([""], [[""]]).value == 0
    assert metric.score(["a b"], [[""]]).value == 100
    assert metric.score([""], [["a b"]]).value == 100
    assert metric.score(["a b c d"], [["", "a b c"]]).value == pytest.approx(100 / 3)


@pytest.mark.parametrize("name", ["cer", "wer", "exact"])
def test_white_space_is_folded(name):
    score = metric_named(name).score(["  a\t b \u3000c\n"], [["a b c"]])
    assert score.value == (100 if name == "exact" else 0)


def test_exact_match_is_exact():
    outputs = ["paris", "Paris", "the Paris", "p aris"]
    assert metric_named("exact").score(outputs, [["Paris", "city of Paris"]] * 4).value == 25


def test_long_lines_take_no_time():
    """Compare texts of 20,000 characters, which a table of all prefixes would take seconds for."""
    draw = random.Random(5)
    left, right = ("".join(draw.choices("abcdef ", k=20_000)) for _ in range(2))
    start = time.process_time()
    assert 0 < edit_distances([(left, right)])[0] < 20_000
    assert time.process_time() - start < 2


@pytest.mark.parametrize("name", METRIC_NAMES)
@pytest.mark.parametrize("swapped", [False, True])
def test_the_same_text_in_two_unicode_forms_is_one_text(name, swapped):
    """Score composed outputs against decomposed references, and the reverse, as equal; the signature says so."""
    composed, decomposed = (
        [unicodedata.normalize(form, text) for text in ("un café très fort ici", "Müller grüßt Zoë oft")]
        for form in ("NFC", "NFD")
    )
    outputs, answers = (decomposed, composed) if swapped else (composed, decomposed)
    metric = metric_named(name)
    same = metric.score(composed, [[answer] for answer in composed])
    mixed = metric.score(outputs, [[answer] for answer in answers])
    assert mixed.value == same.value == pytest.approx(100 if metric.higher_is_better else 0)
    assert mixed.signature == f"{same.signature}|unicode:nfc"
