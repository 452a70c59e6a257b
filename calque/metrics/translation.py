"""BLEU, chrF and TER by sacrebleu, with its signatures, as statistics per line.

Papineni et al. 2002 (BLEU), Popovic 2015 (chrF), Snover et al. 2006 (TER), Post 2018 (sacrebleu).
"""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, cast

import numpy as np

from calque.metrics.score import FloatArray, LineStatistics, Metric

if TYPE_CHECKING:
    from sacrebleu.metrics.base import Metric as SacrebleuMetric


def bleu(tokenizer: str) -> Metric:
    """Return corpus BLEU of order 4 with exponential smoothing over sacrebleu's `tokenizer`."""
    return Metric("bleu", True, partial(_measure_bleu, tokenizer), _bleu_value)


def chrf() -> Metric:
    """Return chrF2: F-score of character n-grams up to 6, without white space, in which recall has twice the weight."""
    return Metric("chrf", True, _measure_chrf, _chrf_value)


def ter() -> Metric:
    """Return the translation edit rate over words between spaces, ignoring case."""
    return Metric("ter", False, _measure_ter, _ter_value)


def ter_east_asian() -> Metric:
    """Return the translation edit rate with Chinese and Japanese tokenised by sacrebleu's `asian_support`."""
    return Metric("ter", False, _measure_ter_east_asian, _ter_value)


def ter_characters() -> Metric:
    """Return the translation edit rate over characters, for scripts without spaces that sacrebleu does not split."""
    return Metric("ter", False, _measure_ter_characters, _ter_value)


def _measure_bleu(tokenizer: str, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> LineStatistics:
    from sacrebleu.metrics.bleu import BLEU

    # force: the caller decides whether text is tokenised, so sacrebleu prints no warning in the middle of a report.
    return _measured(BLEU(tokenize=tokenizer, force=True), hypotheses, references)


def _measure_chrf(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> LineStatistics:
    from sacrebleu.metrics.chrf import CHRF

    return _measured(CHRF(), hypotheses, references)


def _measure_ter(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> LineStatistics:
    from sacrebleu.metrics.ter import TER

    return _measured(TER(), hypotheses, references)


def _measure_ter_east_asian(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> LineStatistics:
    from sacrebleu.metrics.ter import TER

    return _measured(TER(normalized=True, asian_support=True), hypotheses, references)


def _measure_ter_characters(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> LineStatistics:
    split = [[_characters(answer) for answer in answers] for answers in references]
    lines = _measure_ter([_characters(hypothesis) for hypothesis in hypotheses], split)
    return LineStatistics(lines.values, f"{lines.signature}|split:char")


def _characters(text: str) -> str:
    return " ".join("".join(text.split()))


def _measured(
    metric: "SacrebleuMetric", hypotheses: Sequence[str], references: Sequence[Sequence[str]]
) -> LineStatistics:
    """Return the statistics per line, by the two functions that sacrebleu's significance tests use."""
    # One stream per reference; a line with fewer references is padded with None, which sacrebleu ignores,
    # although its annotations do not allow it.
    num_streams = max(len(answers) for answers in references)
    streams = [[answers[i] if i < len(answers) else None for answers in references] for i in range(num_streams)]
    values = np.array(
        metric._extract_corpus_statistics(hypotheses, cast(Sequence[Sequence[str]], streams)), dtype=np.float64
    )
    return LineStatistics(values, str(metric.get_signature()))


def _bleu_value(total: FloatArray) -> float:
    from sacrebleu.metrics.bleu import BLEU

    hypothesis_length, reference_length, *counts = (int(count) for count in total)
    order = len(counts) // 2
    score = BLEU.compute_bleu(counts[:order], counts[order:], hypothesis_length, reference_length, smooth_method="exp")
    return float(score.score)


def _chrf_value(total: FloatArray) -> float:
    from sacrebleu.metrics.chrf import CHRF

    return float(CHRF()._compute_score_from_stats(total.tolist()).score)


def _ter_value(total: FloatArray) -> float:
    from sacrebleu.metrics.ter import TER

    return float(TER()._compute_score_from_stats(total.tolist()).score)
