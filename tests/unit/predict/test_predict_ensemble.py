"""The Predictor of several models, untrained and in memory: tags are forced, parts keep them, columns must agree."""

from collections.abc import Sequence

import pytest
import torch

from calque.engines import eager
from calque.errors import DataError, UsageError
from calque.model import ModelConfig, build
from calque.predict.ensemble import EnsemblePredictor
from calque.predict.predictor import Predictor
from calque.search.options import SearchConfig
from calque.tasks.kinds import TaskConfig
from calque.text.inputs import ONE_TEXT, Inputs
from calque.text.pair import TextConfig, TextPair, train_text

WORDS = ["mill", "river", "tower", "garden", "harbour"]
TAGGED = Inputs(sources=("text",), tag="to", tag_side="target", tags=("de", "fr"))
SEVERAL = Inputs(sources=("question", "passage"))
LSTM = {"kind": "lstm", "layers": 1, "width": 8}
TRANSFORMER = {"kind": "transformer", "layers": 1, "width": 8, "heads": 2, "feed_forward": 12}


def text_of(inputs: Inputs, kind: str = "word") -> TextPair:
    """Learn a pair whose target is the same whatever the source's kind."""
    config = TextConfig.model_validate({"source": {"kind": kind}, "target": {"kind": "word"}})
    lines = ["\t".join([word] * len(inputs.names)) for word in WORDS]
    return train_text(config, lambda: iter(lines), lambda: iter(WORDS), inputs)


def predictor(inputs: Inputs, kind: str, part: dict, max_length: int = 40) -> Predictor:
    """Build an untrained model that answers at length."""
    text = text_of(inputs, kind)
    torch.manual_seed(len(kind))
    config = ModelConfig.model_validate({"encoder": part, "decoder": part})
    model = build(config, text.source.vocab_size, text.target.vocab_size).eval()
    options = SearchConfig(beam=3, n_best=3, min_length=2, max_length_extra=4, max_length_ratio=0.0)
    return Predictor(model, text, options, TaskConfig(), max_length)


def ensemble(inputs: Inputs, max_length: int = 40) -> EnsemblePredictor:
    """Join an LSTM that reads words with a Transformer that reads characters."""
    members = [
        predictor(inputs, "word", LSTM, max_length),
        predictor(inputs, "character", TRANSFORMER, max_length),
    ]
    return EnsemblePredictor(members, ["a", "b"], "prob")


def outputs(model: Predictor, lines: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> list[list[list[int]]]:
    """Return the tokens of every hypothesis of each line, as search gave them."""
    found = []
    search = eager.search

    def spy(*arguments):
        hypotheses = search(*arguments)
        for tokens, lengths in zip(hypotheses.tokens.tolist(), hypotheses.lengths.tolist(), strict=True):
            found.append([row[:length] for row, length in zip(tokens, lengths, strict=True)])
        return hypotheses

    monkeypatch.setattr(eager, "search", spy)
    answers = model.answers(lines, batch_size=1)
    monkeypatch.undo()
    assert len(found) == len(lines)
    # Longer lines are answered first.
    texts = [[model.text.target.decode(tokens) for tokens in row] for row in found]
    assert sorted(texts) == sorted([answer.text for answer in answered] for answered in answers)
    return found


@pytest.mark.parametrize("make", [ensemble, lambda inputs: predictor(inputs, "word", LSTM)])
def test_every_answer_begins_with_the_tag_and_does_not_show_it(make, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make(TAGGED)
    size = model.text.target.vocab_size
    found = outputs(model, ["de\tmill", "fr\tmill river", "de\ttower"], monkeypatch)
    assert all(len({tokens[0] for tokens in row}) == 1 for row in found)
    assert sorted(row[0][0] for row in found) == [size - 2, size - 2, size - 1]
    assert all(set(answer.split()) <= {*WORDS} for answer in model(["de\tmill", "fr\tmill"]))


def test_parts_of_a_long_line_keep_the_tag_in_every_member() -> None:
    model = ensemble(TAGGED, max_length=12)
    (parts,) = model._read(["fr\tmill river tower garden"])
    size = model.text.target.vocab_size
    assert [part.answered.prefix for part in parts] == [(size - 1,)] * 3
    read = [model.texts[0].source.decode(part.members[0].tokens) for part in parts]
    assert read == ["mill river", "tower", "garden"]
    # The characters were learned from single words.
    by_character = [model.texts[1].source.decode(part.members[1].tokens) for part in parts]
    assert by_character == [text.replace(" ", "") for text in read]


def test_several_sources_are_asked_in_one_line() -> None:
    model = ensemble(SEVERAL, max_length=6)
    (parts,) = model._read(["mill river tower\tgarden"])
    assert len(parts) == 1
    for own in parts[0].members:
        assert own.segments == sorted(own.segments or [])
        assert set(own.segments or []) == {0, 1}
    question = {"passage": "tower", "question": "mill"}
    assert model(question) == model("mill\ttower")
    with pytest.raises(DataError, match="1 column where this model reads 2: question, passage"):
        model("mill")


def test_members_that_read_other_columns_are_refused() -> None:
    members = [predictor(inputs, "word", LSTM) for inputs in (ONE_TEXT, SEVERAL)]
    with pytest.raises(UsageError, match=r"runs/a and runs/b .* the one reads source, the other question, passage"):
        EnsemblePredictor(members, ["runs/a", "runs/b"], "prob")
    with pytest.raises(UsageError, match="target tokens differ"):
        EnsemblePredictor([predictor(TAGGED, "word", LSTM), other_tags()], ["a", "b"], "prob")


def other_tags() -> Predictor:
    """Build a model that was trained with one tag more."""
    return predictor(TAGGED.model_copy(update={"tags": ("de", "en", "fr")}), "word", LSTM)


def test_training_state_comes_back() -> None:
    """Evaluate every member without dropout, and leave it as it was."""
    model = ensemble(ONE_TEXT)
    for member in model.ensemble.members:
        member.train()
    model.ensemble.train()
    first = model(["mill river"])
    assert model(["mill river"]) == first
    assert all(member.training for member in model.ensemble.members)
