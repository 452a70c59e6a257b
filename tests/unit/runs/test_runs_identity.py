"""A run keeps the rule by which it split its data and left out empty texts, also one that began in calque 0.1.0."""

import json
import shutil
import unicodedata
from pathlib import Path

import pytest

from calque.data.split import is_held_out
from calque.report.progress import SilentDisplay
from calque.runs.prepare import Prepared, prepare
from calque.runs.request import Named, make_request
from calque.text.identity import Identity

SOURCES = [f"caf\u00e9 number {number}" for number in range(60)]
BOTH = [form for source in SOURCES for form in (source, unicodedata.normalize("NFD", source))]


def prepared(data: Path, out: Path, *settings: str) -> Prepared:
    """Prepare a run as `calque train` does."""
    settings = ("text.source.vocab_size=40", "text.target.vocab_size=40", *settings)
    request = make_request([str(data)], str(out), Named("gru", "tiny", "translation", None), list(settings), None)
    return prepare(request, False, SilentDisplay())


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a file in which every source is there in two Unicode forms."""
    path = tmp_path / "pairs.tsv"
    path.write_text("".join(f"{source}\tdas Café {number}\n" for number, source in enumerate(BOTH)), encoding="utf-8")
    return path


def test_a_new_run_splits_by_what_the_model_sees(data: Path, tmp_path: Path) -> None:
    """Hold both forms of a source out, and record the rule."""
    run = prepared(data, tmp_path / "run")
    held_out = {example.source for example in run.dev}
    assert held_out == {source for source in BOTH if is_held_out(source)}
    assert len(run.store) == len(BOTH) - len(held_out)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["identity"] == "nfc"
    shutil.rmtree(tmp_path / "run" / "data")
    again = prepared(data, tmp_path / "run")
    assert [example.source for example in again.dev] == [example.source for example in run.dev]
    assert len(again.store) == len(run.store)


def test_an_old_run_keeps_its_split(data: Path, tmp_path: Path) -> None:
    """Split by the texts as they are written where the record names no rule, and build the same store again."""
    prepared(data, tmp_path / "run")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    del record["identity"]
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    shutil.rmtree(tmp_path / "run" / "data")
    run = prepared(data, tmp_path / "run")
    held_out = [example.source for example in run.dev]
    assert held_out == [source for source in BOTH if is_held_out(source, Identity("raw"))]
    assert held_out != [source for source in BOTH if is_held_out(source)]
    assert len(run.store) == len(BOTH) - len(held_out)


def test_the_split_follows_the_model_s_unicode_form(tmp_path: Path) -> None:
    """Hold out by form NFKC where the model reads that form."""
    path = tmp_path / "pairs.tsv"
    sources = [f"{word} number {number}" for number in range(60) for word in ("fish", "ﬁsh")]
    path.write_text("".join(f"{source}\tder Fisch\n" for source in sources), encoding="utf-8")
    run = prepared(path, tmp_path / "run", "text.normalise=nfkc")
    held_out = {example.source for example in run.dev}
    assert {source.replace("ﬁ", "fi") for source in held_out}.isdisjoint(
        source.replace("ﬁ", "fi") for source in sources if source not in held_out
    )
    assert len(held_out) >= 2
