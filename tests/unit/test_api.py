"""The verbs in Python: what they take, how settings are laid over each other, and what they refuse."""

from pathlib import Path

import pytest
from toy_language import write_pairs

from calque import api
from calque.cli.common import use_threads
from calque.errors import UsageError
from calque.recipe.stored import search_options
from calque.runs.request import Named, Options, make_request

NAMED = Named("auto", "auto", "translation", None)


def test_settings_lie_over_the_file_and_options_over_both(tmp_path: Path) -> None:
    """Let the more particular layer win."""
    config = tmp_path / "recipe.toml"
    config.write_text("[train]\nseed = 1\nlr = 0.1\nmax_epochs = 5\n")
    request = make_request(["x.tsv"], None, NAMED, ["train.lr=0.2", "train.seed=2"], str(config), Options(seed=3))
    assert request.settings["train"] == {"seed": 3, "lr": 0.2, "max_epochs": 5}


def test_options_that_were_not_given_set_nothing() -> None:
    """Leave every default to the data."""
    assert make_request(["x.tsv"], None, NAMED, [], None, Options()).settings == {}


@pytest.mark.parametrize(
    ("data", "folder"),
    [
        (["a/b/pairs.tsv"], "runs/pairs"),
        (["pairs.en-de.tsv.gz"], "runs/pairs.en-de"),
        (["pairs.jsonl"], "runs/pairs"),
        (["-"], "runs/pipe"),
    ],
)
def test_the_folder_is_named_after_the_data(data: list[str], folder: str) -> None:
    """Take the file's name without its endings."""
    assert make_request(data, None, NAMED, []).out == Path(folder)


def test_languages_come_from_the_option_or_the_name() -> None:
    """Prefer what was said; guess from the file's name; else know nothing."""
    said = Named("auto", "auto", "translation", "de-fr")
    assert said.choice("x.en-zh.tsv").languages == ("de", "fr")
    assert NAMED.choice("x.en-zh.tsv").languages == ("en", "zh")
    assert NAMED.choice("x.tsv").languages == ("", "")
    for wrong in ("en", "-en", "en-"):
        with pytest.raises(UsageError, match="en-zh"):
            Named("auto", "auto", "translation", wrong).choice("x.tsv")


def test_wrong_calls_are_refused(tmp_path: Path) -> None:
    """Name an option that is none, missing data, and a file that is not there."""
    with pytest.raises(UsageError, match="no data"):
        api.train()
    with pytest.raises(TypeError, match="lernrate"):
        api.train(tmp_path / "x.tsv", lernrate=1)  # type: ignore[call-arg]
    with pytest.raises(UsageError, match="no file"):
        api.train(tmp_path / "x.tsv", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_three_files_are_too_many(tmp_path: Path) -> None:
    """Say what is needed."""
    files = [write_pairs(tmp_path / f"{number}.tsv", 5) for number in range(3)]
    with pytest.raises(UsageError, match="3 data files"):
        api.check(*files)


@pytest.mark.parametrize("threads", [0, -1])
def test_no_threads_are_refused(threads: int) -> None:
    """Need one at least; 0 is no word for all of them."""
    with pytest.raises(UsageError, match="threads"):
        use_threads(threads)


def test_search_options_change_only_what_was_asked(toy_model: Path) -> None:
    """Keep the model's own settings beside the new width; a list needs a beam as wide."""
    assert search_options(toy_model) is None
    own = api.load(toy_model).options
    narrow = search_options(toy_model, beam=1)
    assert narrow == own.model_copy(update={"beam": 1})
    wide = search_options(toy_model, n_best=own.beam + 3)
    assert wide is not None
    assert wide.beam == wide.n_best == own.beam + 3
    with pytest.raises(UsageError, match="n_best"):
        search_options(toy_model, beam=2, n_best=3)


def test_evaluate_takes_a_folder_or_an_open_model(toy_model: Path, tmp_path: Path) -> None:
    """Every form of input gives the same scores; `metrics` chooses them and their order."""
    data = write_pairs(tmp_path / "x.tsv", 20)
    by_folder = api.evaluate(toy_model, data, ["exact", "chrf"])
    assert by_folder == api.evaluate(api.load(toy_model), [data], ["exact", "chrf"])
    assert [score.name for score in by_folder] == ["exact", "chrf"]
    with pytest.raises(UsageError, match="blue"):
        api.evaluate(toy_model, data, ["blue"])


def test_fix_counts_what_it_left_out(tmp_path: Path) -> None:
    """Write each usable pair once."""
    data = tmp_path / "x.tsv"
    data.write_text("a\tb\na\tb\n\tc\n")
    assert api.fix([str(data)], str(tmp_path / "out.tsv")) == {"kept": 1, "bad": 0, "blank": 1, "duplicates": 1}
    assert (tmp_path / "out.tsv").read_text() == "a\tb\n"
