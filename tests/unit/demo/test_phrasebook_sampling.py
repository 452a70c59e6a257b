"""Hold the sampling of the phrase grammar to its promises: determinism, balance, and a test of unseen combinations."""

import subprocess
import sys
from collections import Counter

import pytest

from calque.demo import phrasebook
from calque.demo.phrasebook.grammar import Pattern, Word, load_grammar
from calque.demo.phrasebook.sampling import is_held_out
from calque.errors import UsageError

Found = dict[str, tuple[Pattern, tuple[Word, ...]]]


@pytest.fixture(scope="module")
def split() -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    return phrasebook.split_pairs(12_000, 1_500, seed=5)


@pytest.fixture(scope="module")
def origins() -> Found:
    """Where the sentences of the smaller patterns come from, by listing these patterns in full."""
    small = [pattern for pattern in load_grammar().patterns if pattern.size <= 700]
    return {pattern.render(words)[0]: (pattern, words) for pattern in small for words in pattern.choices()}


def test_same_seed_same_pairs() -> None:
    assert phrasebook.sample_pairs(500, 1) == phrasebook.sample_pairs(500, 1)
    assert phrasebook.sample_pairs(500, 1) != phrasebook.sample_pairs(500, 2)
    assert phrasebook.split_pairs(900, 30, 1) == phrasebook.split_pairs(900, 30, 1)
    assert phrasebook.split_pairs(900, 30, 1) != phrasebook.split_pairs(900, 30, 2)


def test_another_process_draws_the_same() -> None:
    code = "from calque.demo import phrasebook as p; print(ascii((p.sample_pairs(40, 7), p.split_pairs(800, 9, 7)[1])))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == ascii((phrasebook.sample_pairs(40, 7), phrasebook.split_pairs(800, 9, 7)[1]))


def test_patterns_are_balanced(origins: Found) -> None:
    pairs = phrasebook.sample_pairs(phrasebook.num_patterns() * 40, 11)
    counts = Counter(origins[english][0].template for english, _ in pairs if english in origins)
    small = {pattern.template: pattern.count for pattern, _ in origins.values()}
    most = max(counts.values())
    assert set(counts) == set(small)
    assert all(counts[template] in {most - 1, most} or counts[template] == small[template] for template in small)


def test_split_sizes_and_no_sentence_in_both(split: tuple[list[tuple[str, str]], list[tuple[str, str]]]) -> None:
    train, test = split
    assert (len(train), len(test)) == (12_000, 1_500)
    assert len({english for english, _ in train + test}) == 13_500


def test_held_out_combinations_are_unseen_in_training(
    split: tuple[list[tuple[str, str]], list[tuple[str, str]]], origins: Found
) -> None:
    seen, unseen = ({_combination(*origins[e]) for e, _ in half if e in origins} for half in split)
    assert len(unseen) > 300
    assert not seen & unseen


def test_every_word_and_pattern_of_the_test_is_trained(
    split: tuple[list[tuple[str, str]], list[tuple[str, str]]], origins: Found
) -> None:
    train, test = split
    assert {w for e, _ in test for w in e.split()} <= {w for e, _ in train for w in e.split()}
    assert set("".join(z for _, z in test)) <= set("".join(z for _, z in train))
    patterns = [{origins[e][0].template for e, _ in half if e in origins} for half in split]
    words = [{word for e, _ in half if e in origins for word in origins[e][1]} for half in split]
    assert patterns[1] <= patterns[0]
    assert len(patterns[1]) > 50
    # Only the small patterns are looked at here: a word that they have in the test may be trained on in a large one.
    assert len(words[1] - words[0]) < 0.02 * len(words[1])


def test_about_a_tenth_is_held_out() -> None:
    for pattern in load_grammar().patterns:
        if len(pattern.slots) < 2:
            assert not any(is_held_out(pattern, words, 0) for words in pattern.choices())
    pattern = max(load_grammar().patterns, key=lambda each: each.size)
    first, second = (pattern.slots[place] for place in pattern.key_slots)
    words = list(next(iter(pattern.choices())))
    kept = 0
    for one in first:
        for other in second:
            words[pattern.key_slots[0]], words[pattern.key_slots[1]] = one, other
            kept += is_held_out(pattern, words, 0)
    assert 0.05 < kept / (len(first) * len(second)) < 0.16


def test_small_training_sets_keep_the_promise() -> None:
    train, test = phrasebook.split_pairs(300, 10, 0)
    known = {word for english, _ in train for word in english.split()}
    assert len(test) == 10
    assert all(set(english.split()) <= known for english, _ in test)


def test_too_many_is_refused_with_the_number_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    patterns = tuple(pattern for pattern in load_grammar().patterns if pattern.size < 20)
    small = type(load_grammar())(patterns, load_grammar().words)
    monkeypatch.setattr("calque.demo.phrasebook.sampling.load_grammar", lambda: small)
    everything = sum(pattern.count for pattern in patterns)
    assert len(phrasebook.sample_pairs(everything, 0)) == everything
    with pytest.raises(UsageError, match=f"has {everything} pairs, not {everything + 1}"):
        phrasebook.sample_pairs(everything + 1, 0)
    with pytest.raises(UsageError, match="training pairs"):
        phrasebook.split_pairs(everything, 1, 0)
    with pytest.raises(UsageError, match="test pairs"):
        phrasebook.split_pairs(10, everything, 0)


def test_nothing_is_asked_for() -> None:
    assert phrasebook.sample_pairs(0, 0) == []
    assert phrasebook.split_pairs(0, 0, 0) == ([], [])


def test_torch_is_not_imported() -> None:
    code = "import sys, calque.demo.phrasebook as p; p.sample_pairs(3, 0); print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "False"


def _combination(pattern: Pattern, words: tuple[Word, ...]) -> tuple[object, ...]:
    if len(pattern.slots) < 2:
        return (pattern.template, words)
    ranked = sorted(range(len(words)), key=lambda place: (-len(pattern.slots[place]), place))[:2]
    return (pattern.template, *(words[place] for place in sorted(ranked)))
