"""`calque compare` and `calque.compare`: files and models as systems, slices, and mistakes."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from toy_language import Finished

import calque
from calque.data.files.readers import Example
from calque.errors import DataError, UsageError
from calque.inspection.comparison import compare_outputs
from calque.metrics.named import metric_named
from calque.metrics.slices import slices

Command = Callable[..., Finished]
PAIRS = [
    ("the mill stands", "die Mühle steht"),
    ("I see 3 trees", "ich sehe 3 Bäume"),
    ("Berlin is large", "Berlin ist groß"),
    ("the old bridge", "die alte Brücke"),
] * 5


def written(folder: Path) -> tuple[str, str, str]:
    """Write the data with a header and an empty pair, and a file of outputs for each of two systems."""
    data, first, second = folder / "test.tsv", folder / "first.txt", folder / "second.txt"
    data.write_text("source\ttarget\n\t\n" + "".join(f"{source}\t{target}\n" for source, target in PAIRS))
    first.write_text("\n" + "".join(f"{target.rsplit(' ', 1)[0]}\n" for _, target in PAIRS))
    second.write_text("\n" + "".join(f"{target}\n" for _, target in PAIRS))
    return str(first), str(second), str(data)


def test_files_of_outputs_are_compared_line_by_line(tmp_path: Path) -> None:
    first, second, data = written(tmp_path)
    found = calque.compare(first, second, data, metrics=["exact", "chrf"])
    assert found.num_lines == len(PAIRS)
    assert (found.scores[0].first, found.scores[0].second) == (0, 100)
    assert found.scores[0].better == "second"
    assert (found.num_wins, found.num_losses, found.num_ties) == (len(PAIRS), 0, 0)
    assert found.wins
    assert not found.losses
    assert found.wins[0].reference == found.wins[0].second


def test_the_command_prints_a_table_and_an_object(tmp_path: Path, command: Command) -> None:
    first, second, data = written(tmp_path)
    done = command("compare", first, second, data, "--metric", "exact")
    assert done.code == 0, done.err
    assert "numbers in the source" in done.out
    assert max(map(len, done.out.splitlines())) <= 120
    parsed = json.loads(command("compare", first, second, data, "--metric", "exact", "--json").out)
    assert parsed["scores"][0]["better"] == "second"
    assert parsed["num_lines"] == len(PAIRS)


def test_a_model_is_compared_with_its_own_outputs(toy_model: Path, tmp_path: Path, command: Command) -> None:
    model = calque.load(toy_model)
    sources = ["a b", "b c", "c d e"]
    (tmp_path / "test.tsv").write_text("".join(f"{source}\tx y\n" for source in sources))
    (tmp_path / "own.txt").write_text("".join(f"{line}\n" for line in model(sources)))
    found = calque.compare(toy_model, tmp_path / "own.txt", tmp_path / "test.tsv", metrics="chrf")
    assert found.scores[0].difference == 0
    assert found.num_ties == len(sources)


@pytest.mark.parametrize("lines", [0, 3, len(PAIRS), len(PAIRS) + 2])
def test_another_number_of_lines_is_refused_with_both_counts(tmp_path: Path, lines: int) -> None:
    first, second, data = written(tmp_path)
    Path(second).write_text("x\n" * lines)
    match = "empty" if not lines else f"{lines} lines of output, but test has {len(PAIRS) + 1} pairs"
    with pytest.raises(DataError, match=match):
        calque.compare(first, second, data)


def test_mistakes_are_named(tmp_path: Path) -> None:
    first, _, data = written(tmp_path)
    with pytest.raises(UsageError, match="neither a model folder nor a file of outputs"):
        calque.compare(first, tmp_path / "none", data)
    with pytest.raises(UsageError, match="cannot be read from a pipe"):
        calque.compare("-", first, data)
    with pytest.raises(UsageError, match="second is of type int"):
        calque.compare(first, 5, data)


def test_slices_divide_the_lines() -> None:
    sources = ["one", "two 2", "one two " * 6, "Where is Anna Karen?", "Who is it?", "Who was he?", "Who?"]
    references = [["x"], ["2"], ["one"], ["Karen"], ["he"], ["she"], ["they"]]
    found = {
        part.name: part.chosen.nonzero()[0].tolist() for part in slices(sources, references, Counter(one=9, two=2))
    }
    assert found["up to 10 words"] == [0, 1, 3, 4, 5, 6]
    assert found["11 to 20 words"] == [2]
    assert found["numbers in the source"] == [1]
    assert found["words copied from the source"] == [3]
    assert found["unseen words"] == [1, 3, 4, 5, 6]
    assert found["rare words (seen less than 5 times)"] == [2]
    assert found["questions with who"] == [4, 5, 6]
    assert found["questions with where"] == [3]


def test_scores_of_slices_are_those_of_their_lines() -> None:
    examples = [Example(source, (target,), number) for number, (source, target) in enumerate(PAIRS, 1)]
    outputs = [target if number % 3 else "nothing" for number, (_, target) in enumerate(PAIRS)]
    metric = metric_named("bleu")
    found = compare_outputs(("a", "b"), ([target for _, target in PAIRS], outputs), examples, [metric])
    (part,) = [part for part in found.parts if part.name == "numbers in the source"]
    inside = [number for number, (source, _) in enumerate(PAIRS) if "3" in source]
    alone = metric.score([outputs[number] for number in inside], [[PAIRS[number][1]] for number in inside])
    assert part.second == pytest.approx(alone.value)
    assert part.num_lines == len(inside)
