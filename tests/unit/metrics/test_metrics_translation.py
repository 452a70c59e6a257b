"""BLEU, chrF and TER must be sacrebleu's own numbers, by its public calls, whatever the shape of the references."""

import random

import pytest
from sacrebleu.metrics import BLEU, CHRF, TER

from calque.errors import DataError, UsageError
from calque.metrics import METRIC_NAMES, metric_named
from calque.metrics.named import tokenizer_for

WORDS = ["the", "a", "cat", "sat", "on", ",", ".", "quickly", "green", "don't", "3.5", "U.S.", '"so"', "well-known"]
CHARACTERS = "今天天气很好我们去公园吃饭,。GPT4 的"


def corpus(num_lines, words=WORDS, joiner=" ", seed=0, num_references=(1,)):
    """Return outputs and references that share part of their words."""
    draw = random.Random(seed)
    outputs, references = [], []
    for _ in range(num_lines):
        answers = [[draw.choice(words) for _ in range(draw.randint(4, 20))] for _ in range(draw.choice(num_references))]
        output = [draw.choice(words) if draw.random() < 0.3 else word for word in answers[0]]
        outputs.append(joiner.join(output))
        references.append([joiner.join(answer) for answer in answers])
    return outputs, references


def streams_of(references):
    count = max(map(len, references))
    return [[line[i] if i < len(line) else None for line in references] for i in range(count)]


@pytest.mark.parametrize("num_references", [(1,), (3,), (1, 2, 4)])
@pytest.mark.parametrize(("name", "oracle"), [("bleu", BLEU), ("chrf", CHRF), ("ter", TER)])
def test_score_and_signature_are_those_of_sacrebleu(name, oracle, num_references):
    outputs, references = corpus(15 if name == "ter" else 40, num_references=num_references)
    outputs[3], outputs[4] = "", "  the cat .  "
    other = oracle()
    expected = other.corpus_score(outputs, streams_of(references)).score
    score = metric_named(name).score(outputs, references)
    assert 0 < expected < 100
    assert score.value == pytest.approx(expected, abs=1e-9)
    assert score.signature == str(other.get_signature())
    assert (score.low, score.high) == (None, None)
    assert score.as_dict()["value"] == score.value


@pytest.mark.parametrize("language", ["zh", "zh-Hant", "zh_CN", "cmn"])
def test_chinese_bleu_counts_characters(language):
    outputs, references = corpus(30, words=list(CHARACTERS), joiner="")
    score = metric_named("bleu", language).score(outputs, references)
    other = BLEU(tokenize="zh")
    assert score.value == pytest.approx(other.corpus_score(outputs, streams_of(references)).score)
    assert "tok:zh" in score.signature
    assert score.value > metric_named("bleu").score(outputs, references).value + 10


def test_chinese_ter_counts_characters_as_sacrebleu_does():
    outputs, references = corpus(20, words=list(CHARACTERS), joiner="")
    other = TER(normalized=True, asian_support=True)
    expected = other.corpus_score(outputs, streams_of(references)).score
    score = metric_named("ter", "zh").score(outputs, references)
    assert score.value == pytest.approx(expected)
    assert score.signature == str(other.get_signature())


def test_thai_ter_counts_characters_and_says_so():
    score = metric_named("ter", "th").score(["กขคง"], [["กขคฉ"]])
    assert score.value == pytest.approx(25)
    assert "split:char" in score.signature


def test_tokenised_text_gives_sacrebleus_number_in_silence(capfd, caplog):
    outputs, references = corpus(150)
    outputs = [f"{output} ." for output in outputs]  # sacrebleu warns from 100 such lines on
    score = metric_named("bleu", "zh", None, tokenize="none").score(outputs, references)
    expected = BLEU(force=True, tokenize="none").corpus_score(outputs, streams_of(references)).score
    assert score.value == pytest.approx(expected)
    assert "tok:none" in score.signature
    assert capfd.readouterr().err == ""
    assert not caplog.records


@pytest.mark.parametrize("name", METRIC_NAMES)
def test_perfect_output_has_the_best_score(name):
    outputs, _ = corpus(10)
    metric = metric_named(name)
    perfect = metric.score(outputs, [["something else", output] for output in outputs])
    assert perfect.value == pytest.approx(100 if metric.higher_is_better else 0)
    assert perfect.higher_is_better == metric.higher_is_better
    worse = metric.score(["x y z", *outputs[1:]], [[output] for output in outputs])
    assert (worse.value < perfect.value) == metric.higher_is_better


@pytest.mark.parametrize(
    ("language", "script", "expected"),
    [
        ("en", "Latn", "13a"),
        (None, None, "13a"),
        ("zh", None, "zh"),
        (None, "Han", "zh"),
        ("zh", "Latn", "13a"),
        ("zh-Latn-CN", None, "13a"),
        ("zh", "unknown", "zh"),
        ("th", None, "char"),
        (None, "Khmer", "char"),
        ("", "Cyrl", "13a"),
    ],
)
def test_tokenizer_follows_language_and_script(language, script, expected):
    assert tokenizer_for(language, script) == expected


@pytest.mark.parametrize(("language", "best", "script"), [("ja", "ja-mecab", "Hira"), ("ko", "ko-mecab", "Hang")])
def test_dictionary_tokenizer_only_where_it_is_installed(monkeypatch, language, best, script):
    monkeypatch.setattr("calque.metrics.named.find_spec", lambda module: None)
    assert tokenizer_for(language, None) == tokenizer_for(None, script) == "char"
    with pytest.raises(UsageError, match="pip install"):
        metric_named("bleu", language, tokenize=best)
    monkeypatch.setattr("calque.metrics.named.find_spec", lambda module: object())
    assert tokenizer_for(language, None) == tokenizer_for(None, script) == best


@pytest.mark.parametrize(("wrong", "right"), [("belu", "bleu"), ("chr", "chrf"), ("exat", "exact"), ("werr", "wer")])
def test_unknown_names_get_the_nearest_known_one(wrong, right):
    with pytest.raises(UsageError, match=f'Did you mean "{right}"'):
        metric_named(wrong)


def test_unknown_tokenizer_is_refused():
    with pytest.raises(UsageError, match='Did you mean "none"'):
        metric_named("chrf", tokenize="nonne")


@pytest.mark.parametrize("name", METRIC_NAMES)
def test_what_cannot_be_scored_is_refused(name):
    metric = metric_named(name)
    with pytest.raises(DataError, match="nothing to score"):
        metric.score([], [])
    with pytest.raises(DataError, match="2 outputs, but references for 1"):
        metric.score(["a", "b"], [["a"]])
    with pytest.raises(DataError, match="Line 2 has no reference"):
        metric.score(["a", "b"], [["a"], []])
    with pytest.raises(UsageError, match="must be a list"):
        metric.score(["a"], ["a"])
    with pytest.raises(UsageError, match="must be text"):
        metric.score([None], [["a"]])
    with pytest.raises(UsageError, match="list of outputs"):
        metric.score("a", "a")
