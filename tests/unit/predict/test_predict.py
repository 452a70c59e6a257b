"""The Predictor: every line answered in its place, alone or among others, whole or in parts."""

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from toy_language import pairs

from calque.api import load
from calque.batch import Source
from calque.cli.common import say_place
from calque.errors import UsageError
from calque.folder.model_file import fill
from calque.folder.weights import load_weights
from calque.model import Seq2Seq
from calque.predict.predictor import Predictor
from calque.predict.reader import batches_of
from calque.predict.writer import one_line
from calque.search.hypotheses import Hypotheses
from calque.search.options import SearchConfig
from calque.text.source import SourceIds
from calque.text.too_long import fitted

LINES = ["one", "", "two three four", "  ", "five six", "seven"]


@pytest.fixture(scope="module")
def predictor(toy_model: Path) -> Predictor:
    """Return the toy model, opened."""
    return load(toy_model)


def test_text_gives_text_and_a_list_a_list(predictor: Predictor) -> None:
    """Keep the form of what was asked."""
    assert isinstance(predictor("one"), str)
    assert predictor(LINES) == [predictor(line) for line in LINES]
    assert predictor([]) == []


def test_the_order_of_lines_does_not_matter(predictor: Predictor) -> None:
    """Answer the same lines alike in any order."""
    lines = [source for source, _ in pairs(40, seed=3)]
    assert predictor.best(lines[::-1])[::-1] == predictor.best(lines)


def test_scores_are_those_of_the_model(predictor: Predictor) -> None:
    """Rank by the score; a log-probability is never above zero, a blank has none."""
    found = predictor.answers(["", "one two"])
    assert (found[0][0].text, found[0][0].score) == ("", 0.0)
    assert found[1][0].log_prob <= 0.0


def test_a_long_line_is_counted_and_answered_in_parts(predictor: Predictor) -> None:
    """Join the answers to its parts by a space, and count it once."""
    long = " ".join(word for source, _ in pairs(60, seed=2) for word in source.split())
    answered = predictor.run([long, "one"])
    (answer,), (short,) = answered.answers
    assert answered.long_lines == 1
    assert predictor.run(["one"]).long_lines == 0
    assert short.text == predictor("one")
    assert len(answer.text.split(" ")) == -(-len(long.split()) // (predictor.max_length - 1))


def test_training_mode_survives_an_answer(predictor: Predictor) -> None:
    """Answer without dropout in the middle of training, and go back to it."""
    before = predictor("one two")
    predictor.model.train()
    try:
        assert predictor("one two") == before
        assert predictor.model.training
    finally:
        predictor.model.eval()


def test_other_search_settings_replace_the_models(toy_model: Path) -> None:
    """Give as many answers as asked, the best first."""
    (found,) = load(toy_model, SearchConfig(beam=4, n_best=3)).answers(["one two"])
    assert len(found) == 3
    assert [answer.score for answer in found] == sorted((answer.score for answer in found), reverse=True)


def test_attention_covers_the_source(predictor: Predictor) -> None:
    """Give a distribution over the source's pieces, </s> included, for every piece of the answer."""
    found = predictor.attention("one two three")
    assert found is not None
    assert len(found.source) == 4
    assert len(found.weights) == len(found.target)
    assert all(sum(row) == pytest.approx(1.0, abs=1e-5) and len(row) == 4 for row in found.weights)


@pytest.mark.parametrize("length", [0, 1, 9, 10, 11, 20, 21, 99])
def test_parts_are_even_and_whole(length: int) -> None:
    """Cut nothing away, exceed the limit nowhere, and differ by little."""
    parts = [part.tokens for part in fitted(SourceIds(list(range(length))), 10, "split")]
    assert [token for part in parts for token in part] == list(range(length))
    assert all(len(part) <= 10 for part in parts)
    assert len(parts) == max(1, -(-length // 10))


@pytest.mark.parametrize("size", [0, 1, 3, 100])
def test_batches_hold_every_line_once_longest_first(size: int) -> None:
    """Deal out all lines, sorted by length, at most `size` to a batch."""
    lengths = [5, 1, 9, 9, 2, 7, 3]
    batches = list(batches_of(lengths, size, SearchConfig()))
    order = [lengths[number] for batch in batches for number in batch]
    assert order == sorted(lengths, reverse=True)
    assert sorted(number for batch in batches for number in batch) == list(range(len(lengths)))
    assert all(len(batch) <= size for batch in batches) or size == 0


def test_one_line_stays_one_line() -> None:
    """Make blanks of what would end a line or a column; leave other text alone."""
    assert one_line("a\nb\tc\r\nd") == "a b c d"
    assert one_line("a  b\u3000c") == "a  b\u3000c"


def test_weights_of_another_model_are_refused(toy_model: Path, predictor: Predictor) -> None:
    """Name a weight that is missing, too many, or of another shape."""
    weights = load_weights(toy_model / "model.safetensors")
    name = sorted(weights)[0]
    for wrong in (
        {key: tensor for key, tensor in weights.items() if key != name},
        weights | {"another": torch.zeros(1)},
        weights | {name: torch.zeros(1, 1)},
    ):
        with pytest.raises(UsageError, match="do not belong together"):
            fill(predictor.model, wrong, toy_model)


def test_a_missing_folder_names_its_neighbours(toy_model: Path, tmp_path: Path) -> None:
    """Help after a misspelt name, in Python as on the command line."""
    with pytest.raises(UsageError, match=toy_model.name):
        load(toy_model.parent / "digit")
    with pytest.raises(UsageError, match="calque train"):
        load(tmp_path / "none")


def test_sources_go_where_the_model_is(predictor: Predictor) -> None:
    """Give an engine the batches on the device of the weights."""
    seen: set[torch.device] = set()

    class Watching:
        owns_threads = False

        def __call__(self, source: Source, lengths: Tensor, prefixes: Tensor, options: SearchConfig) -> Hypotheses:
            seen.update({source.tokens.device, source.mask.device, lengths.device, prefixes.device})
            nothing = torch.zeros(len(lengths), 1, dtype=torch.int64)
            return Hypotheses(nothing[:, :, None], nothing, nothing.float(), nothing.float())

    elsewhere = replace(predictor, engine=Watching(), network=copy.deepcopy(predictor.network).to("meta"))
    assert elsewhere.device == torch.device("meta")
    elsewhere.best(LINES)
    assert seen == {torch.device("meta")}


def test_a_model_is_opened_on_the_gpu_unless_told(toy_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the machine's word for where models run, the caller's before it."""
    asked: list[object] = []

    def go(model: Seq2Seq, device: object) -> Seq2Seq:
        asked.append(device)
        return model

    monkeypatch.setattr(Seq2Seq, "to", go)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda number: "a card")
    load(toy_model)
    load(toy_model, device="cpu")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    load(toy_model)
    assert asked == ["cuda", "cpu", "cpu"]


def test_the_gpu_is_named_once_and_the_cpu_is_not(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Say on standard error where a model runs, where that is worth a line."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda number: "a card")
    say_place(predictor)
    assert capsys.readouterr() == ("", "")
    elsewhere = replace(predictor, network=copy.deepcopy(predictor.network).to("meta"))
    say_place(elsewhere, quiet=True)
    assert capsys.readouterr() == ("", "")
    say_place(elsewhere)
    assert capsys.readouterr() == ("", "on a card: the GPU at hand\n")
