"""Scoring a model on data of another language, script or task says so; fitting data say nothing."""

import pytest

from calque.data.files.formats import Example
from calque.metrics.score import Score
from calque.runs.mismatch import mismatches
from calque.text.pair import TextConfig, TextPair, train_text

ENGLISH = [f"the weather in the old town is fine on day {number}" for number in range(40)]
CHINESE = [f"老城第{number}天的天气很好" for number in range(40)]


def pair(kind: str = "sentencepiece") -> TextPair:
    """Return the text side of a model from English to Chinese."""
    side = {"kind": kind} | ({"vocab_size": 300} if kind == "sentencepiece" else {})
    config = TextConfig.model_validate({"source": side, "target": side, "joint": False})
    return train_text(config, lambda: iter(ENGLISH), lambda: iter(CHINESE))


def signs(
    sources: list[str], targets: list[str], *scores: Score, text: TextPair | None = None, script: str = "Han"
) -> list[str]:
    """Return what is noticed about pairs."""
    examples = [Example(source, (target,), 1) for source, target in zip(sources, targets, strict=True)]
    return mismatches(text or pair(), script, examples, scores)


@pytest.mark.parametrize("kind", ["sentencepiece", "word", "character"])
def test_fitting_data_say_nothing(kind: str) -> None:
    """Notice nothing about the data themselves, names in other letters, and a poor score."""
    assert signs([*ENGLISH, "the town of Zürich"], [*CHINESE, "苏黎世 Zürich"], text=pair(kind)) == []
    assert (
        signs(ENGLISH, CHINESE, Score("wer", 99.0, 90.0, 100.0, "", False), Score("chrf", 200.0, 0, 0, "", True)) == []
    )


@pytest.mark.parametrize("kind", ["sentencepiece", "word", "character"])
def test_sources_of_another_script(kind: str) -> None:
    """Name the share of unknown letters and the script."""
    russian = ["погода в старом городе"] * 40
    (sign,) = signs(russian, CHINESE, text=pair(kind))
    assert "100% of the letters of the sources" in sign
    assert "Cyrillic" in sign


def test_swapped_columns() -> None:
    """Notice both sides."""
    assert len(signs(CHINESE, ENGLISH)) == 2
    (sign,) = signs(ENGLISH, ENGLISH)
    assert "the references are Latin, and the model writes Han" in sign
    assert signs(ENGLISH, ENGLISH, script="") == []
    assert signs(ENGLISH, ["1 2 3"] * 40) == []


@pytest.mark.parametrize("name", ["wer", "cer", "ter"])
def test_an_impossible_rate(name: str) -> None:
    """Notice a rate above 100 %, in plain words."""
    (sign,) = signs(ENGLISH, CHINESE, Score(name, 2676.4, 2000.0, 3000.0, "", False))
    assert f"{name} is 2,676 %" in sign


def test_bytes_have_no_alphabet() -> None:
    """Say nothing about sources where every letter can be read."""
    assert signs(["погода"] * 40, CHINESE, text=pair("byte")) == []
