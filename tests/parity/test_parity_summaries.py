"""ROUGE against Google's rouge-score, EM and F1 against the SQuAD script in Hugging Face's transformers."""

import random

import pytest

from calque.metrics.answers import answer_f1, exact_answer
from calque.metrics.rouge import rouge_l, rouge_lsum, rouge_n
from calque.metrics.score import Metric

rouge_scorer = pytest.importorskip("rouge_score.rouge_scorer", reason="pip install 'calque[parity]'")
squad_metrics = pytest.importorskip("transformers.data.metrics.squad_metrics", reason="pip install 'calque[parity]'")

METRICS = {"rouge1": rouge_n(1, "english"), "rouge2": rouge_n(2, "english"), "rougeL": rouge_l("english"),
           "rougeLsum": rouge_lsum("english")}  # fmt: skip
WORDS = ("the", "The", "a", "mill", "mills", "old", "12", "x-ray", "don't", "über", "wheel", "river", "an", "U.S.", "—")
MARKS = ("", "", "", ",", ".", "!", "?", ";", "\n")

HAND_MADE = [
    ("", "the mill"), ("the mill", ""), ("", ""), ("?!", "the mill"), ("the mill", "..."), ("a", "a"),
    ("the the the", "the"), ("the", "the the the"), ("a b c d", "d c b a"), ("a b a b a b", "b a b a"),
    ("one. two. three.", "three. two. one."), ("one.\ntwo.\nthree.", "two.\none."), ("A B", "a b"),
    ("U.S. mills", "us mills"), ("x-ray", "x ray"), ("x-ray", "xray"), ("don't", "dont"), ("don't", "don t"),
    ("12,000 wheels", "12000 wheels"), ("12,000", "12 000"), ("über", "uber"), ("naïve mill", "naive mill"),
    ("老磨坊", "老磨坊"), ("a mill", "the mill"), ("an old mill", "old mill"), ("theatre", "the atre"),
    ("mill  mill", "mill mill"), (" mill ", "mill"), ("mill\tmill", "mill mill"), ("mill_wheel", "mill wheel"),
    ("the river, the mill", "the mill, the river"), ("wheel wheel river", "wheel river river"),
    ("a.\na.\na.", "a."), ("a b.\nc d.", "a c.\nb d."), ("a b c.\nd e f.", "a d.\nb e.\nc f."), ("\n\n", "a"),
    ("a b c d e f g", "a c e g"), ("g e c a", "a b c d e f g"), ("a a b b", "b b a a"), ("the", "a"), ("the", "the"),
    ("3.14", "3 14"), ("mill.", "mill"), ("“mill”", "mill"), ("mill's wheel", "mills wheel"), ("e.g. mill", "eg mill"),
    ("ﬁne mill", "fine mill"), ("MILL", "mill"), ("mill" * 30, "mill" * 30), ("a b " * 40, "b a " * 40),
]  # fmt: skip


def random_text(draw: random.Random, longest: int) -> str:
    words = (draw.choice(WORDS) + draw.choice(MARKS) for _ in range(draw.randint(0, longest)))
    return " ".join(words).replace("\n ", "\n")


def cases() -> list[tuple[str, list[str]]]:
    """Return 50 cases written by hand, and 500 at random with up to three references."""
    draw = random.Random(5)
    made = [(random_text(draw, 25), [random_text(draw, 25) for _ in range(draw.randint(1, 3))]) for _ in range(500)]
    return [(output, [answer]) for output, answer in HAND_MADE] + made


def value(metric: Metric, output: str, answers: list[str]) -> float:
    return metric.score([output], [answers]).value


def test_the_cases_are_as_many_as_promised() -> None:
    assert len(HAND_MADE) == 50
    assert len(cases()) == 550


@pytest.mark.parametrize("name", METRICS)
def test_rouge_is_that_of_rouge_score(name: str) -> None:
    scorer = rouge_scorer.RougeScorer([name], use_stemmer=False)
    for output, answers in cases():
        if name == "rougeLsum":
            # The other library leaves the ends of sentences to its caller.
            output, answers = (
                output.replace(". ", ".\n").replace("! ", "!\n").replace("? ", "?\n"),
                [answer.replace(". ", ".\n").replace("! ", "!\n").replace("? ", "?\n") for answer in answers],
            )
        expected = max(scorer.score(answer, output)[name].fmeasure for answer in answers)
        assert value(METRICS[name], output, answers) == pytest.approx(100 * expected, abs=1e-6), (output, answers)


def test_em_and_f1_are_those_of_squad() -> None:
    em, f1 = exact_answer("squad"), answer_f1("squad")
    for output, answers in cases():
        # As the script does: a reference without words is no answer.
        right = [answer for answer in answers if squad_metrics.normalize_answer(answer)] or [""]
        assert value(em, output, answers) == 100 * max(squad_metrics.compute_exact(each, output) for each in right)
        expected = 100 * max(squad_metrics.compute_f1(each, output) for each in right)
        assert value(f1, output, answers) == pytest.approx(expected, abs=1e-6), (output, answers)
