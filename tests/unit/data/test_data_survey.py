"""The one pass before training: counts that add up, samples that nothing shifts, memory that stays flat."""

import hashlib
import json
import random
import unicodedata
from pathlib import Path

import pytest

from calque.data.files.readers import Columns, Dataset, open_dataset
from calque.data.split import is_held_out
from calque.data.survey import RESERVOIR_BYTES, development_sample, survey, training_pairs
from calque.text.identity import NFC, Identity


def opened(path: Path, rows: list[tuple[str, str]]) -> Dataset:
    """Write pairs and open them."""
    path.write_text("".join(f"{source}\t{target}\n" for source, target in rows), encoding="utf-8")
    return open_dataset([str(path)], Columns())


def rows(count: int, seed: int = 1) -> list[tuple[str, str]]:
    """Return pairs, some sources more than once, some sides blank."""
    draw = random.Random(seed)
    made = [(f"word {draw.randrange(count // 2)}", f"字{draw.randrange(9)}") for _ in range(count)]
    return [(source if draw.random() > 0.1 else " ", target if draw.random() > 0.1 else "") for source, target in made]


def test_counts_add_up_to_the_file(tmp_path: Path) -> None:
    """Count every pair once: trained on, held out or blank."""
    made = rows(1000)
    found = survey(opened(tmp_path / "x.tsv", made), True, 10_000)
    blank = [pair for pair in made if not (pair[0].strip() and pair[1].strip())]
    held_out = [pair for pair in made if pair not in blank and is_held_out(pair[0])]
    assert (found.num_blank, found.num_held_out) == (len(blank), len(held_out))
    assert found.num_pairs + found.num_blank + found.num_held_out == len(made)
    assert [(example.source, example.targets[0]) for example in found.held_out] == held_out
    assert found.num_held_out > 0


def test_training_and_held_out_share_no_source(tmp_path: Path) -> None:
    """Split by the source: a source is on one side only, and the two sides are the usable pairs."""
    made = rows(1000)
    dataset = opened(tmp_path / "x.tsv", made)
    trained = list(training_pairs(dataset, True))
    held_out = survey(dataset, True, 10_000).held_out
    assert not {source for source, _ in trained} & {example.source for example in held_out}
    assert len(trained) + len(held_out) == len(list(training_pairs(dataset, False)))
    assert len(trained) == survey(dataset, True, 1).num_pairs


def test_membership_does_not_depend_on_the_rest(tmp_path: Path) -> None:
    """Keep a pair where it is when the file is shuffled and grows."""
    made = rows(400)
    more = made + rows(400, seed=2)
    random.Random(3).shuffle(more)
    first, second = (
        {source for source, _ in training_pairs(opened(tmp_path / name, part), True)}
        for name, part in (("x.tsv", made), ("y.tsv", more))
    )
    assert first <= second
    held_out = {example.source for example in survey(opened(tmp_path / "y.tsv", more), True, 10_000).held_out}
    assert not first & held_out


def test_a_sample_is_stable_and_in_the_order_of_the_file(tmp_path: Path) -> None:
    """Keep the examples of the smallest hashes: a few new lines replace a few, and shift none."""
    made = [(f"word {number}", "x") for number in range(2000)]
    small = development_sample(opened(tmp_path / "x.tsv", made), 100)
    assert len(small) == 100
    assert [example.line for example in small] == sorted(example.line for example in small)
    grown = development_sample(opened(tmp_path / "y.tsv", [("new", "x"), *made]), 100)
    assert len({example.source for example in small} & {example.source for example in grown}) >= 99
    whole = development_sample(opened(tmp_path / "x.tsv", made), 5000)
    assert [example.source for example in whole] == [source for source, _ in made]


def test_a_sample_is_no_head_of_the_file(tmp_path: Path) -> None:
    """Draw from all of it: sorted files would mislead otherwise."""
    made = [(f"word {number}", "x") for number in range(2000)]
    found = development_sample(opened(tmp_path / "x.tsv", made), 100)
    thirds = [sum(low < example.line <= low + 667 for example in found) for low in (0, 667, 1334)]
    assert min(thirds) >= 15


def test_facts_of_the_sides(tmp_path: Path) -> None:
    """Tell script, alphabet and mean length of each side, from what is trained on."""
    found = survey(opened(tmp_path / "x.tsv", [("ab", "你好吗"), ("abcd", "好")] * 20), False, 10)
    assert (found.source.script, found.target.script) == ("Latin", "Han")
    assert (found.source.alphabet, found.target.alphabet) == (4, 3)
    assert (found.source.mean_characters, found.target.mean_characters) == (3.0, 2.0)
    assert found.held_out == []


def test_right_answers_count_as_pairs(tmp_path: Path) -> None:
    """Train on each right answer, drop the blank ones, and hold an example out whole."""
    lines = [{"source": f"word {number}", "target": ["a", "b", " "]} for number in range(200)]
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = survey(open_dataset([str(tmp_path / "x.jsonl")], Columns()), True, 1000)
    assert found.num_pairs + found.num_held_out == 400
    assert found.num_blank == 200
    assert all(example.targets == ("a", "b") for example in found.held_out)


@pytest.mark.parametrize("count", [20_000])
def test_the_texts_to_learn_from_stay_below_the_limit(count: int, tmp_path: Path) -> None:
    """Keep a part of large data for the tokenizer, from all of the file."""
    filling = "x" * 600
    found = survey(opened(tmp_path / "x.tsv", [(f"{number} {filling}", "y") for number in range(count)]), False, 10)
    size = sum(len(line.encode()) for line in found.source.sample)
    assert 0.8 * RESERVOIR_BYTES < size <= RESERVOIR_BYTES
    assert len(found.target.sample) == count
    numbers = [int(line.split()[0]) for line in found.source.sample]
    assert max(numbers) > 0.9 * count
    assert min(numbers) < 0.1 * count


def test_the_split_sees_what_the_model_sees(tmp_path: Path) -> None:
    """Keep sources on one side that differ only in their Unicode form or by invisible characters."""
    plain = [f"caf\u00e9 number {number}" for number in range(300)]
    variants = ["{}", " {}", "{}\u200b", "\ufeff{}", "{}"]
    made = [(form.format(source), "x") for source in plain for form in variants]
    made += [(unicodedata.normalize("NFD", source), "x") for source in plain]
    dataset = opened(tmp_path / "x.tsv", made)
    trained = {NFC.of(source) for source, _ in training_pairs(dataset, True)}
    held_out = {NFC.of(example.source) for example in survey(dataset, True, 10_000).held_out}
    assert trained | held_out == set(plain)
    assert not trained & held_out
    assert len(held_out) > 10


def test_the_split_of_texts_in_form_nfc_stays(tmp_path: Path) -> None:
    """Give texts without invisible characters the side that they had in calque 0.1.0."""
    sources = [
        f"{word} {number}"
        for word in ("house", "caf\u00e9", "上海\u3000", "l\u00a0été", "שלום")
        for number in range(200)
    ]
    for source in sources:
        digest = hashlib.sha256(source.strip().encode()).digest()
        assert is_held_out(source) == (int.from_bytes(digest[:8], "big") < 2**64 // 10)


def test_lines_of_invisible_characters_are_not_trained_on(tmp_path: Path) -> None:
    """Leave out pairs of which a side shows nothing, except in runs that began under the older rule."""
    made = [("a", "b"), ("\u200b", "b"), ("a", "\ufeff \u200b"), ("\u3164", "\u2800"), ("c", "d")]
    dataset = opened(tmp_path / "x.tsv", made)
    assert list(training_pairs(dataset, False)) == [("a", "b"), ("c", "d")]
    assert survey(dataset, False, 1).num_blank == 3
    assert [example.source for example in development_sample(dataset, 10)] == ["a", "c"]
    assert list(training_pairs(dataset, False, Identity("raw"))) == made
