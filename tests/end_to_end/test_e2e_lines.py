"""Many lines at once: none lost, none shifted, each answered as it is when it comes alone."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from toy_language import DIGITS, Finished

from calque.api import load
from calque.predict.predictor import Predictor

Best = Callable[[list[str], int], list[str]]
BATCHES = (1, 7, 64, 0)
# Batches of 20,000 lines; in small batches, which take longest and have least to mix up, a part of them.
LARGE, SMALL, PART = (64, 0), (1, 7), 2_000


def lines_with_blanks(count: int, seed: int = 5) -> list[str]:
    """Return lines of different lengths, 24 % of them empty or with white space of some kind only."""
    draw = random.Random(seed)
    blanks = ["", " ", "\t", "\u3000", "  \u00a0"]
    words = list(DIGITS)
    texts = [" ".join(draw.choice(words) for _ in range(draw.randint(1, 7))) for _ in range(min(count, 1_000) // 4)]
    return [draw.choice(blanks) if draw.random() < 0.24 else draw.choice(texts) for _ in range(count)]


def opened(folder: Path) -> Predictor:
    """Open the model with a narrow beam, which is quicker and no easier to keep in order."""
    own = load(folder).options
    return load(folder, own.model_copy(update={"beam": 2}))


def compare_batches(best: Best, lines: list[str], batches: Sequence[int] = BATCHES) -> None:
    """Hold every size of batch to the answers that each line gets alone."""
    alone = {line: best([line], 1)[0] for line in set(lines)}
    assert 0.2 < sum(not line.strip() for line in lines) / len(lines) < 0.28
    for batch in batches:
        found = best(lines, batch)
        assert len(found) == len(lines)
        assert all(bool(answer) <= bool(line.strip()) for line, answer in zip(lines, found, strict=True))
        same = sum(answer == alone[line] for line, answer in zip(lines, found, strict=True))
        assert same >= (len(lines) if batch == 1 else 0.999 * len(lines)), batch


def test_200_lines_are_answered_as_alone(toy_model: Path) -> None:
    """Keep count, order and blanks for batches of 1, 7, 64 and the automatic size; batches of one in all cases."""
    compare_batches(opened(toy_model).best, lines_with_blanks(200))


def test_the_comparison_sees_a_shift(toy_model: Path) -> None:
    """Show that two answers changed in their places are found out."""
    whole, lines = opened(toy_model).best, lines_with_blanks(200)
    compare_batches(whole, lines, [64])

    def shifted(lines: list[str], batch: int = 0) -> list[str]:
        found = whole(lines, batch)
        return [*found[1:], found[0]] if len(found) > 1 else found

    with pytest.raises(AssertionError):
        compare_batches(shifted, lines, [64])


@pytest.mark.slow
def test_20000_lines_are_answered_as_alone(toy_model: Path) -> None:
    """Hold the same over 20,000 lines."""
    best, lines = opened(toy_model).best, lines_with_blanks(20_000)
    compare_batches(best, lines, LARGE)
    compare_batches(best, lines[:PART], SMALL)


def test_exact_is_a_batch_of_one_for_each_line(toy_model: Path, command: Callable[..., Finished]) -> None:
    """Give with --exact, among others, what each line gets alone."""
    lines = [line for line in lines_with_blanks(60) if line.strip()]
    done = command("generate", toy_model, "--exact", "--scores", "--threads", 1, stdin="\n".join(lines).encode())
    alone = [command("generate", toy_model, line, "--exact", "--scores", "--threads", 1).out for line in lines[:8]]
    assert done.out.splitlines(keepends=True)[:8] == alone
