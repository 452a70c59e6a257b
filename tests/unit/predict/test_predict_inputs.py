"""What a Predictor is given in Python: any iterable of texts, and an error with position and type for anything else."""

import pickle
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from random_models import narrow, redrawn, words

import calque
from calque.errors import CalqueError, DataError, UsageError
from calque.model import ModelConfig
from calque.predict.predictor import Predictor, single
from calque.predict.writer import clean
from calque.search.options import SearchConfig
from calque.tasks.kinds import TaskConfig
from calque.text.graph.layout import SourceError

TEXTS = ["s1 s2", "s3", "s4 s5 s6"]


class Series:
    """Iterate as a pandas Series does: over the values, with an index beside them."""

    def __init__(self, values: list[Any]) -> None:
        self.values, self.iloc, self.index = values, object(), range(len(values))

    def __iter__(self) -> Any:
        return iter(self.values)


class Frame(Series):
    """Iterate as a pandas DataFrame does: over the names of columns."""

    columns = ("source", "target")


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    """Return a model with random weights."""
    text = words()
    model = redrawn(ModelConfig.model_validate(narrow("gru")), text.source.vocab_size, text.target.vocab_size).eval()
    return single(model, text, SearchConfig(beam=2, max_length_extra=4), TaskConfig(), 40)


@pytest.mark.parametrize(
    "given",
    [tuple, iter, deque, np.array, lambda texts: np.array(texts, dtype=object), Series,
     lambda texts: (text for text in texts), lambda texts: [np.str_(text) for text in texts],
     lambda texts: [{"source": text} for text in texts],
     lambda texts: [OrderedDict(source=text, target="x") for text in texts]],
)  # fmt: skip
def test_any_iterable_of_texts_is_answered_in_its_order(
    given: Callable[[list[str]], Iterable[str]], predictor: Predictor
) -> None:
    assert predictor(given(TEXTS)) == [predictor(text) for text in TEXTS]


def test_nothing_in_nothing_out(predictor: Predictor) -> None:
    for nothing in ([], (), iter([]), np.array([], dtype=str)):
        assert predictor(nothing) == []
    assert predictor.answers([]) == []
    assert predictor([""]) == [""]
    assert predictor("") == ""


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "not None"),
        (5, r"not int \('5'\)"),
        (1.5, "not float"),
        (b"s1", "not bytes"),
        (bytearray(b"s1"), "not bytearray"),
        (Path("s1"), "not PosixPath"),
        (object(), "not object"),
        ({"s1", "s2"}, "not set"),
        (frozenset({"s1"}), "not frozenset"),
        (Frame(["source", "target"]), "not Frame. Give one of its columns"),
        (np.array("s1"), "not ndarray"),
        ([5], r"text 1: .* not int \('5'\)"),
        (["s1", None], "text 2: .* not None"),
        (["s1", float("nan")], r"text 2: .* not float \('nan'\)"),
        (["s1", b"s2"], r"text 2: .* not bytes. Decode it first"),
        (["s1", ["s2"]], "text 2: .* not list"),
        ([["s1", "s2"]], "text 1: .* not list"),
        (("s1", ("s2",)), "text 2: .* not tuple"),
        (np.array([1, 2]), "text 1: .* not int64"),
        (np.array([["s1"], ["s2"]]), "text 1: .* not ndarray"),
        (Series(["s1", None]), "text 2: .* not None"),
        ([True], "text 1: .* not bool"),
    ],
)
def test_anything_else_is_an_error_with_position_and_type(given: Any, message: str, predictor: Predictor) -> None:
    for ask in (predictor, predictor.answers, predictor.best):
        with pytest.raises(UsageError, match=message) as caught:
            ask(given)
        assert isinstance(caught.value, TypeError)
        assert len(str(caught.value)) < 200


def test_a_single_text_is_not_a_list_of_characters(predictor: Predictor) -> None:
    for ask in (predictor.answers, predictor.best, predictor.run):
        with pytest.raises(UsageError, match="a list of strings is needed, not str"):
            ask("s1")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sourse": "s1"}, 'no "source"; the keys are "sourse".*Did you mean'),
        ({}, 'no "source"; the keys are none'),
        ({"source": 5}, '"source" must be a text'),
        ({"source": None}, '"source" must be a text'),
        ({5: "s1"}, 'no "source"'),
    ],
)
def test_a_dictionary_holds_the_text_by_its_name(given: dict[Any, Any], message: str, predictor: Predictor) -> None:
    with pytest.raises(CalqueError, match=f"text 1: .*{message}"):
        predictor(given)
    with pytest.raises(CalqueError, match=f"text 2: .*{message}"):
        predictor(["s1", given])


@pytest.mark.parametrize("bad", ["\ud800", "s1 \udcff", "\udfff s1"])
def test_an_unpaired_surrogate_is_named(bad: str, predictor: Predictor) -> None:
    place = next(number for number, char in enumerate(bad, start=1) if "\ud800" <= char <= "\udfff")
    with pytest.raises(DataError, match=f"text 2: character {place} is the unpaired surrogate U\\+D"):
        predictor(["s1", bad])
    with pytest.raises(DataError, match="text 1: character"):
        predictor({"source": bad})
    with pytest.raises(SourceError) as caught:
        predictor.best(["", "s1", bad])
    assert caught.value.number == 2
    # A pair of surrogates is a character.
    assert isinstance(predictor("\U0001f600"), str)


def test_a_tag_for_a_model_without_tags_is_refused(predictor: Predictor) -> None:
    with pytest.raises(DataError, match="has no tags"):
        predictor("s1", tag="de")


@pytest.mark.parametrize("wrong", [-1, "3", 2.5, None, True])
def test_a_batch_size_is_a_count(wrong: Any, predictor: Predictor) -> None:
    for ask in (predictor, predictor.answers, predictor.best):
        with pytest.raises(UsageError, match="batch_size: a whole number from 0"):
            ask(["s1"], batch_size=wrong)


@pytest.mark.parametrize("wrong", [5, None, b"de", ["de"]])
def test_a_tag_is_a_string(wrong: Any, predictor: Predictor) -> None:
    with pytest.raises(UsageError, match="tag: a string is needed"):
        predictor(["s1"], tag=wrong)


def test_beam_and_n_best_are_those_of_the_command_line(predictor: Predictor) -> None:
    many = predictor(TEXTS, beam=5, n_best=3)
    assert [len(answers) for answers in many] == [3] * len(TEXTS)
    assert predictor(TEXTS[0], beam=5, n_best=3) == many[0]
    assert [[answer.text for answer in answers] for answers in predictor.answers(TEXTS, beam=5, n_best=3)] == many
    # A beam that is not given is wide enough.
    assert len(predictor(TEXTS[0], n_best=7)) == 7
    assert predictor(TEXTS[0], n_best=1) == predictor(TEXTS[0])
    wide = predictor.with_search(beam=5)
    assert (wide.options.beam, predictor.options.beam) == (5, 2)
    assert predictor(TEXTS, beam=5) == wide(TEXTS)
    found = [predictor.answers(TEXTS, beam=beam)[0][0].score for beam in (1, 8)]
    assert found[1] >= found[0]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"beam": 0}, "beam"),
        ({"beam": "5"}, "beam"),
        ({"beam": 2.5}, "beam"),
        ({"beam": True}, "beam"),
        ({"n_best": 0}, "n_best"),
        ({"n_best": -1}, "n_best"),
        ({"beam": 2, "n_best": 3}, "n_best must be at most beam, but n_best is 3 and beam is 2"),
    ],
)
def test_impossible_searches_are_refused_by_name(wrong: dict[str, Any], message: str, predictor: Predictor) -> None:
    for ask in (predictor, predictor.answers):
        with pytest.raises(UsageError, match=f"^{message}"):
            ask(["s1"], **wrong)


def test_load_takes_the_same_options(toy_model: Path) -> None:
    one = calque.load(toy_model, beam=3, n_best=2)
    assert (one.options.beam, one.options.n_best) == (3, 2)
    assert len(one.answers(["one two"])[0]) == 2
    both = calque.load([toy_model, toy_model], n_best=7)
    assert (both.options.beam, both.options.n_best) == (7, 7)
    with pytest.raises(UsageError, match="beam"):
        calque.load(toy_model, beam=0)


def test_a_predictor_cannot_be_changed_from_outside(predictor: Predictor) -> None:
    for name in ("engine", "options", "processes", "network", "text", "long_lines"):
        with pytest.raises((FrozenInstanceError, AttributeError)):
            setattr(predictor, name, None)


def test_another_engine_is_another_predictor(predictor: Predictor) -> None:
    calls = []

    class Counting:
        owns_threads = True

        def __call__(self, *arguments: Any) -> Any:
            calls.append(len(arguments[1]))
            return predictor.engine(*arguments)

    other = predictor.with_engine(Counting(), "counting: for a test")
    assert other(TEXTS) == predictor(TEXTS)
    assert sum(calls) == len(TEXTS)
    assert "engine counting" in repr(other)
    assert "engine eager" in repr(predictor)


def test_a_predictor_describes_itself(predictor: Predictor) -> None:
    count = sum(parameter.numel() for parameter in predictor.model.parameters())
    shown = repr(predictor)
    assert "\n" not in shown
    for part in ("Predictor", "translation", f"{count:,} parameters", "cpu", "beam 2"):
        assert part in shown
    assert repr(pickle.loads(pickle.dumps(predictor))) == shown


def test_an_answer_never_holds_the_mark_of_broken_bytes() -> None:
    assert clean("a\ufffdb \ufffd\ufffd") == "ab "
    assert clean("\ufffd") == ""
    assert clean("a\ufffd\nb") == "a b"
    assert clean("héllo 你好 \ufffc") == "héllo 你好 \ufffc"
