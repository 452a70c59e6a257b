"""EM and F1 of short answers, after the normalisation of the data sets that made these scores common.

Rajpurkar et al. 2016, "SQuAD: 100,000+ Questions for Machine Comprehension of Text"; Cui et al. 2019, "A
Span-Extraction Dataset for Chinese Machine Reading Comprehension".
"""

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from calque.metrics.edits import share_of_lines, wilson
from calque.metrics.rouge import f1, words_of
from calque.metrics.score import LineStatistics, Metric, mean_of_lines, reference_count

FORMS = ("squad", "characters")
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_ASCII_MARKS = str.maketrans("", "", string.punctuation)


def exact_answer(form: str) -> Metric:
    """Return EM: the percentage of lines that equal a reference after normalisation; `form` is one of FORMS."""
    return Metric("em", True, partial(_measure_exact, form), share_of_lines, wilson)


def answer_f1(form: str) -> Metric:
    """Return F1: the mean over the lines of the F1 of words or characters with the best reference."""
    return Metric("f1", True, partial(_measure_f1, form), mean_of_lines)


def normalised(answer: str, form: str) -> str:
    """Return an answer without case, punctuation and outer white space.

    `squad` drops English articles and folds white space; `characters` drops all white space, and the marks of every
    script.
    """
    if form == "squad":
        return " ".join(_ARTICLES.sub(" ", answer.lower().translate(_ASCII_MARKS)).split())
    return "".join(letter for letter in answer.lower() if not (letter.isspace() or _is_mark(letter)))


def _is_mark(letter: str) -> bool:
    return unicodedata.category(letter)[0] in "PS"


def _measure_exact(form: str, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> LineStatistics:
    right = [
        float(normalised(output, form) in [normalised(answer, form) for answer in _expected(answers, form)])
        for output, answers in zip(hypotheses, references, strict=True)
    ]
    return _lines(right, form, references)


def _measure_f1(form: str, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> LineStatistics:
    overlap: Callable[[str, str], float] = _word_f1 if form == "squad" else _substring_f1
    best = [
        100.0 * max(overlap(output, answer) for answer in _expected(answers, form))
        for output, answers in zip(hypotheses, references, strict=True)
    ]
    return _lines(best, form, references)


def _lines(values: Sequence[float], form: str, references: Sequence[Sequence[str]]) -> LineStatistics:
    signature = f"nrefs:{reference_count(references)}|case:lc|norm:{form}|by:calque"
    return LineStatistics(np.stack([np.array(values), np.ones(len(values))], axis=1), signature)


def _expected(answers: Sequence[str], form: str) -> Sequence[str]:
    """Return the references that hold an answer; if none does, the right answer is an empty line."""
    return [answer for answer in answers if normalised(answer, form)] or [""]


def _word_f1(output: str, answer: str) -> float:
    ours, theirs = (normalised(text, "squad").split() for text in (output, answer))
    if not ours or not theirs:
        return float(ours == theirs)
    return f1((Counter(ours) & Counter(theirs)).total(), len(ours), len(theirs))


def _substring_f1(output: str, answer: str) -> float:
    """Return the F1 of the longest run of characters (words, where letters are Latin) that both have."""
    ours, theirs = (words_of(text, "characters") for text in (output, answer))
    if not ours or not theirs:
        return float(ours == theirs)
    return f1(_longest_run(ours, theirs), len(ours), len(theirs))


def _longest_run(ours: Sequence[str], theirs: Sequence[str]) -> int:
    longest, above = 0, [0] * (len(theirs) + 1)
    for word in ours:
        row = [0]
        for place, other in enumerate(theirs):
            row.append(above[place] + 1 if word == other else 0)
        longest, above = max(longest, *row), row
    return longest
