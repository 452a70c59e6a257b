"""The Predictor of several models, untrained and in memory: tags are forced, parts keep them, columns must agree."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from calque.engines.engine import Engine
from calque.errors import DataError, UsageError
from calque.model import ModelConfig, build
from calque.predict.ensemble import SharedReader
from calque.predict.ensemble import ensemble as joined
from calque.predict.predictor import Predictor, single
from calque.search.hypotheses import Hypotheses
from calque.search.options import SearchConfig
from calque.tasks.kinds import TaskConfig
from calque.text.inputs import ONE_TEXT, Inputs
from calque.text.pair import TextConfig, TextPair, train_text
from calque.text.sharing import SharedSource

WORDS = ["mill", "river", "tower", "garden", "harbour"]
TAGGED = Inputs(sources=("text",), tag="to", tag_side="target", tags=("de", "fr"))
SEVERAL = Inputs(sources=("question", "passage"))
LSTM = {"kind": "lstm", "layers": 1, "width": 8}
TRANSFORMER = {"kind": "transformer", "layers": 1, "width": 8, "heads": 2, "feed_forward": 12}


def text_of(inputs: Inputs, kind: str = "word") -> TextPair:
    """Learn text pairs whose target side is the same for every kind of source."""
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
    return single(model, text, options, TaskConfig(), max_length)


def ensemble(inputs: Inputs, max_length: int = 40) -> Predictor:
    """Join an LSTM that reads words with a Transformer that reads characters."""
    members = [
        predictor(inputs, "word", LSTM, max_length),
        predictor(inputs, "character", TRANSFORMER, max_length),
    ]
    return joined(members, ["a", "b"], "prob")


def read(model: Predictor, line: str) -> list[list[SharedSource]]:
    """Return a line as the members read it."""
    found: list[list[SharedSource]] = model.reader.read([model.text.inputs.parse(line)])
    return found


class Spy:
    """An engine that keeps the tokens of every hypothesis of each sentence."""

    owns_threads = True

    def __init__(self, engine: Engine) -> None:
        self.engine, self.found = engine, list[list[list[int]]]()

    def __call__(self, *arguments: Any) -> Hypotheses:
        hypotheses = self.engine(*arguments)
        for tokens, lengths in zip(hypotheses.tokens.tolist(), hypotheses.lengths.tolist(), strict=True):
            self.found.append([row[:length] for row, length in zip(tokens, lengths, strict=True)])
        return hypotheses


def outputs(model: Predictor, lines: Sequence[str]) -> list[list[list[int]]]:
    """Return the tokens of every hypothesis of each line, as search gave them."""
    spy = Spy(model.engine)
    answers = model.with_engine(spy, "spy: for tests").answers(lines, batch_size=1)
    assert len(spy.found) == len(lines)
    # Longer lines are answered first.
    texts = [[model.text.target.decode(tokens) for tokens in row] for row in spy.found]
    assert sorted(texts) == sorted([answer.text for answer in answered] for answered in answers)
    return spy.found


@pytest.mark.parametrize("make", [ensemble, lambda inputs: predictor(inputs, "word", LSTM)])
def test_every_answer_begins_with_the_tag_and_does_not_show_it(make) -> None:
    model = make(TAGGED)
    size = model.text.target.vocab_size
    found = outputs(model, ["de\tmill", "fr\tmill river", "de\ttower"])
    assert all(len({tokens[0] for tokens in row}) == 1 for row in found)
    assert sorted(row[0][0] for row in found) == [size - 2, size - 2, size - 1]
    assert all(set(answer.split()) <= {*WORDS} for answer in model(["de\tmill", "fr\tmill"]))


def test_parts_of_a_long_line_keep_the_tag_in_every_member() -> None:
    model = ensemble(TAGGED, max_length=12)
    (parts,) = read(model, "fr\tmill river tower garden")
    size, shared = model.text.target.vocab_size, model.reader
    assert isinstance(shared, SharedReader)
    assert [part.answered.prefix for part in parts] == [(size - 1,)] * 3
    found = [shared.texts[0].source.decode(part.members[0].tokens) for part in parts]
    assert found == ["mill river", "tower", "garden"]
    # The characters were learned from single words.
    by_character = [shared.texts[1].source.decode(part.members[1].tokens) for part in parts]
    assert by_character == [text.replace(" ", "") for text in found]


def test_several_sources_are_asked_in_one_line() -> None:
    model = ensemble(SEVERAL, max_length=6)
    (parts,) = read(model, "mill river tower\tgarden")
    assert len(parts) == 1
    for own in parts[0].members:
        assert own.segments == sorted(own.segments or [])
        assert set(own.segments or []) == {0, 1}
    question = {"passage": "tower", "question": "mill"}
    assert model(question) == model("mill\ttower")
    with pytest.raises(DataError, match="1 column, but this model reads 2: question, passage"):
        model("mill")


def test_members_that_read_other_columns_are_refused() -> None:
    members = [predictor(inputs, "word", LSTM) for inputs in (ONE_TEXT, SEVERAL)]
    with pytest.raises(UsageError, match=r"runs/a and runs/b .* the first reads source, the second question, passage"):
        joined(members, ["runs/a", "runs/b"], "prob")
    with pytest.raises(UsageError, match="target tokens differ"):
        joined([predictor(TAGGED, "word", LSTM), other_tags()], ["a", "b"], "prob")


def other_tags() -> Predictor:
    """Build a model that was trained with one tag more."""
    return predictor(TAGGED.model_copy(update={"tags": ("de", "en", "fr")}), "word", LSTM)


def test_training_state_comes_back() -> None:
    """Evaluate every member without dropout, and restore its mode."""
    model = ensemble(ONE_TEXT)
    model.network.train()
    first = model(["mill river"])
    assert model(["mill river"]) == first
    assert all(module.training for module in model.network.modules())
