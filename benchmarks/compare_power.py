"""How often `calque compare` errs, and how often it finds a difference of 1 BLEU on 1,000 sentences.

    CALQUE_DATA=../shared/data python benchmarks/compare_power.py            # a few minutes
    python benchmarks/compare_power.py --pairs 20                            # a quick look

Systems are made from the references of the test set of Multi30k: each output is the reference with some of its words
replaced or left out. Real systems err on the same hard sentences, so each sentence has a difficulty that both share,
and a share of their errors (`--shared`) is common to both. For false alarms both systems have the same quality; for
power the second one is better by 1 BLEU.
"""

import argparse
import os
import random
from pathlib import Path

import numpy as np

from calque.metrics.named import metric_named
from calque.metrics.paired import compare, line_values

DATA = Path(os.environ.get("CALQUE_DATA", "../shared/data")) / "multi30k-en-de/tok"
QUALITY = 0.3


def damaged(words: list[str], common: list[float | None], share: float, difficulty: float, draw: random.Random) -> str:
    """Return a reference with about `share` × `difficulty` of its words damaged; `common` are draws of both systems."""
    kept = []
    for word, chance in zip(words, common, strict=True):
        if (draw.random() if chance is None else chance) >= share * difficulty:
            kept.append(word)
        elif draw.random() < 0.5:
            kept.append("…")
    return " ".join(kept)


def pair(references: list[str], shares: tuple[float, float], same: float, seed: int) -> tuple[list[str], list[str]]:
    """Return the outputs of two systems that damage these shares of words."""
    draw = random.Random(seed)
    first, second = [], []
    for reference in references:
        words, difficulty = reference.split(), draw.uniform(0.2, 1.8)
        common = [draw.random() if draw.random() < same else None for _ in words]
        first.append(damaged(words, common, shares[0], difficulty, draw))
        second.append(damaged(words, common, shares[1], difficulty, draw))
    return first, second


def better_share(references: list[str], gain: float, same: float) -> float:
    """Return the share of damaged words at which BLEU is higher by `gain` than at `QUALITY`, on average over draws."""
    metric, answers = metric_named("bleu", tokenize="none"), [[text] for text in references]

    def difference(share: float) -> float:
        drawn = [pair(references, (QUALITY, share), same, seed) for seed in range(-8, 0)]
        values = [[metric.score(outputs, answers).value for outputs in systems] for systems in drawn]
        return sum(second - first for first, second in values) / len(values)

    low, high = 0.8 * QUALITY, QUALITY
    for _ in range(8):
        middle = (low + high) / 2
        low, high = (middle, high) if difference(middle) > gain else (low, middle)
    return (low + high) / 2


def main() -> None:
    """Print the share of pairs in which a test finds a difference at 5 %."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=100, help="pairs of systems of each kind (default: 100)")
    parser.add_argument("--shared", type=float, default=0.8, help="share of errors that both make (default: 0.8)")
    chosen = parser.parse_args()
    file = next(path for path in sorted(DATA.glob("*test*")) if path.suffix == ".tsv")
    references = [line.split("\t")[1] for line in file.read_text(encoding="utf-8").splitlines()][:1_000]
    metric = metric_named("bleu", tokenize="none")
    by_line = metric_named("chrf")
    better = better_share(references, 1.0, chosen.shared)
    for name, shares in (("equal systems", (QUALITY, QUALITY)), ("1 BLEU apart", (QUALITY, better))):
        counts = {"bootstrap": 0, "randomisation": 0, "both": 0}
        total = correlation = 0.0
        for number in range(chosen.pairs):
            outputs, answers = pair(references, shares, chosen.shared, number + 1), [[text] for text in references]
            found = compare(metric, *outputs, answers)
            lines = [line_values(by_line, own, answers) for own in outputs]
            correlation += float(np.corrcoef(*lines)[0, 1])
            counts["bootstrap"] += found.p_bootstrap < 0.05
            counts["randomisation"] += found.p_randomisation < 0.05
            counts["both"] += found.better != "neither"
            total += found.difference
        listed = ", ".join(f"{name} {count}" for name, count in counts.items())
        about = (
            f"mean difference {total / chosen.pairs:+.2f}, chrF of lines correlates {correlation / chosen.pairs:.2f}"
        )
        print(f"{name}, {about}: found in {listed} of {chosen.pairs}", flush=True)


if __name__ == "__main__":
    main()
