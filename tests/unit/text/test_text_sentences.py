"""The layout of sentences: each but the last is closed, and copying keeps its places."""

import pytest

from calque.ids import EOS, PAD
from calque.text.graph.layout import SENTENCE_END, SentencesLayoutConfig
from calque.text.inputs import ONE_TEXT, Inputs
from calque.text.pair import TextConfig, TextPair, train_text
from calque.text.tokenizers.kinds import WordConfig

STORY = "Ann went home. Bob slept! Where is 3.5 m? Here"


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        (STORY, ["Ann went home.", "Bob slept!", "Where is 3.5 m?", "Here"]),
        ("他走了。她来了！好", ["他走了。", "她来了！", "好"]),
        ("No end", ["No end"]),
        ("One. ", ["One. "]),
        ("", [""]),
    ],
)
def test_sentences_end_at_punctuation(text: str, sentences: list[str]) -> None:
    assert SENTENCE_END.split(text.strip()) == [sentence.strip() for sentence in sentences]


def words(copying: bool, inputs: Inputs = ONE_TEXT) -> TextPair:
    config = TextConfig(source=WordConfig(), target=WordConfig(), layout=SentencesLayoutConfig(), copying=copying)
    line = "\t".join([STORY] * len(inputs.sources))
    return train_text(config, lambda: iter([line]), lambda: iter(["Ann Bob"]), inputs)


@pytest.mark.parametrize("copying", [False, True])
def test_each_sentence_but_the_last_is_closed(copying: bool) -> None:
    text = words(copying)
    (source,) = text.read_sources(["Ann went. Bob slept"])
    first, second = text.source.encode("Ann went."), text.source.encode("Bob slept")
    assert source.tokens == [*first, EOS, *second]
    if copying:
        assert source.copy_ids is not None
        assert len(source.copy_ids) == len(source.tokens)
        assert source.copy_ids[len(first)] == PAD
        assert source.copy_ids[0] == text.target.encode("Ann")[0]


def test_the_question_is_the_first_sentence() -> None:
    text = words(False, Inputs(sources=("question", "context")))
    (source,) = text.read_sources(["Where\tAnn went. Bob slept"])
    parts = [text.source.encode(part) for part in ("Where", "Ann went.", "Bob slept")]
    assert source.tokens == [*parts[0], EOS, *parts[1], EOS, *parts[2]]
    assert source.segments == [0] * (len(parts[0]) + 1) + [1] * (len(source.tokens) - len(parts[0]) - 1)
