"""From hypotheses to answers: token ids become one line of text, and the answers to parts become one answer."""

from collections.abc import Sequence
from dataclasses import dataclass

from calque.search.hypotheses import Hypotheses
from calque.text.pair import TextPair
from calque.text.source import SourceIds
from calque.text.too_long import TooLong

# The result of decoding bytes that are not UTF-8.
REPLACEMENT = "\ufffd"


@dataclass(frozen=True)
class Answer:
    """One output of one line: its text, the score that ranked it, and the plain sum of log-probabilities."""

    text: str
    score: float
    log_prob: float


@dataclass(frozen=True)
class AttentionTable:
    """The decoder's attention: pieces of both sides and weights [T, S] as nested lists."""

    source: list[str]
    target: list[str]
    weights: list[list[float]]


EMPTY = Answer("", 0.0, 0.0)


@dataclass(frozen=True)
class Writer:
    """Write hypotheses as answers with the target tokenizer of `text`."""

    text: TextPair

    def write(self, hypotheses: Hypotheses, sources: Sequence[SourceIds]) -> list[list[Answer]]:
        """Return the answers to each source, best first, without impossible hypotheses except the first."""
        tokens, lengths = hypotheses.tokens.tolist(), hypotheses.lengths.tolist()
        scores, log_probs = hypotheses.scores.tolist(), hypotheses.log_probs.tolist()
        answers = []
        for row, source in enumerate(sources):
            possible = [rank for rank, score in enumerate(scores[row]) if rank == 0 or score > float("-inf")]
            texts = [self.text.write_target(tokens[row][rank][: lengths[row][rank]], source) for rank in possible]
            ranked = zip(texts, possible, strict=True)
            answers.append([Answer(clean(text), scores[row][rank], log_probs[row][rank]) for text, rank in ranked])
        return answers


def clean(text: str) -> str:
    """Return the text of an answer on one line, without the replacement of bytes that are not UTF-8."""
    return one_line(text.replace(REPLACEMENT, "") if REPLACEMENT in text else text)


def one_line(text: str) -> str:
    """Return `text` with a space for every character that some programs read as the end of a line or column."""
    return " ".join(text.splitlines()).replace("\t", " ")


def combined(parts: Sequence[Sequence[Answer]], too_long: TooLong) -> list[Answer]:
    """Return the answers to a line from those to its parts: an empty one if there is no part.

    The best answers to parts of a split line are joined into one; of windows, all answers are ranked together.
    """
    if not parts:
        return [EMPTY]
    if len(parts) == 1:
        return list(parts[0])
    if too_long == "windows":
        return _best_first(parts)
    best = [answers[0] for answers in parts]
    total = sum(answer.log_prob for answer in best)
    return [Answer(" ".join(answer.text for answer in best), sum(answer.score for answer in best) / len(best), total)]


def _best_first(windows: Sequence[Sequence[Answer]]) -> list[Answer]:
    """Return the different answers to all windows, best first, as many as one window has."""
    ranked: dict[str, Answer] = {}
    for answer in sorted((answer for own in windows for answer in own), key=lambda answer: -answer.score):
        ranked.setdefault(answer.text, answer)
    return list(ranked.values())[: max(map(len, windows))]
