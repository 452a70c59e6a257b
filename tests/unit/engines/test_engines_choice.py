"""The engine that a model folder gets, its description, and the answers of every engine."""

import shutil
from pathlib import Path

import pytest
from random_models import narrow, write_random

import calque
from calque.engines.choice import ENGINES
from calque.errors import UsageError
from calque.predict.predictor import load

LINES = ["s1 s2 s3", "s4", "", "s7 s7 s2 s9 s11", "s18 s3"]


@pytest.fixture(scope="module")
def transformer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a Transformer."""
    return write_random(tmp_path_factory.mktemp("models") / "transformer", narrow("transformer"))


@pytest.fixture(scope="module")
def gru(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a recurrent model."""
    return write_random(tmp_path_factory.mktemp("models") / "gru", narrow("gru"))


@pytest.fixture(scope="module")
def fast(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a Transformer that decodes by simple recurrent units."""
    return write_random(tmp_path_factory.mktemp("models") / "fast", narrow("fast"))


@pytest.mark.parametrize(
    ("folder", "name", "taken"),
    [
        ("transformer", "auto", "compiled"),
        ("transformer", "eager", "eager"),
        ("transformer", "fused", "fused"),
        ("transformer", "compiled", "compiled"),
        ("fast", "auto", "compiled"),
        ("fast", "compiled", "compiled"),
    ],
)
@pytest.mark.usefixtures("compiler")
def test_exact_engines_answer_alike(folder: str, name: str, taken: str, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(folder)
    chosen = load(path, device="cpu", engine=name)
    assert chosen.engine_said.startswith(f"{taken}: ")
    found, expected = chosen.answers(LINES), load(path, device="cpu").answers(LINES)
    assert [[answer.text for answer in answers] for answers in found] == [
        [answer.text for answer in answers] for answers in expected
    ]
    scores = [answers[0].score for answers in expected]
    assert [answers[0].score for answers in found] == pytest.approx(scores, abs=1e-4)


@pytest.mark.parametrize(("named", "reason"), [("", "no C compiler"), ("false", "exit code 1")])
@pytest.mark.parametrize(
    ("folder", "name", "taken"),
    [
        ("transformer", "auto", "fused: "),
        ("transformer", "compiled", "fused: "),
        ("transformer", "int8", "int8: "),
        ("fast", "auto", "eager: "),
        ("fast", "int8", "int8: "),
    ],
)
def test_without_a_compiler_another_engine_steps_in_and_says_so(
    folder: str,
    name: str,
    taken: str,
    named: str,
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    path = request.getfixturevalue(folder)
    # $CC is a program that is not a compiler, or is not set, and nothing else is found.
    program = shutil.which(named)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CC", program or "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    chosen = load(path, device="cpu", engine=name)
    assert chosen.engine_said.startswith(taken)
    assert reason in chosen.engine_said
    assert len(chosen.best(LINES)) == len(LINES)
    if taken != "int8: ":
        assert chosen.best(LINES) == load(path, device="cpu", engine="eager").best(LINES)
    assert not list(tmp_path.rglob("*.so"))


@pytest.mark.parametrize(("engine", "apart"), [("int8", 0.05), ("bf16", 0.01)])
@pytest.mark.parametrize("folder", ["transformer", "fast", "gru"])
def test_rounded_numbers_stay_near(folder: str, engine: str, apart: float, request: pytest.FixtureRequest) -> None:
    """Differ a little, so that it is known to be another engine, and not much."""
    path = request.getfixturevalue(folder)
    exact, rounded = load(path, device="cpu"), load(path, device="cpu", engine=engine)
    assert rounded.engine_said.startswith(f"{engine}: ")
    lines = [f"s{number} s{(7 * number) % 19}" for number in range(19)]
    differences = [
        abs(one[0].log_prob - other[0].log_prob) / (1 + abs(one[0].log_prob))
        for one, other in zip(exact.answers(lines), rounded.answers(lines), strict=True)
    ]
    assert 0 < sorted(differences)[len(lines) // 2] < apart


def test_a_recurrent_model_is_searched_as_it_is(gru: Path) -> None:
    assert load(gru, device="cpu", engine="auto").engine_said == "eager: model.decoder.kind is not transformer"
    with pytest.raises(UsageError, match=r"engine fused .* model\.decoder\.kind is not transformer"):
        load(gru, device="cpu", engine="fused")
    with pytest.raises(UsageError, match="engine ctranslate2 does not support this model"):
        load(gru, device="cpu", engine="ctranslate2")


def test_a_name_that_no_engine_has(gru: Path) -> None:
    with pytest.raises(UsageError, match=r"no engine 'fuzed'.*fused"):
        load(gru, device="cpu", engine="fuzed")


def test_an_ensemble_has_one_engine(transformer: Path) -> None:
    folders = [transformer, transformer]
    assert calque.load(folders, device="cpu")("s1 s2") == calque.load(folders, device="cpu", engine="eager")("s1 s2")
    with pytest.raises(UsageError, match="an ensemble supports only eager"):
        calque.load(folders, device="cpu", engine="int8")


def test_the_command_line_knows_them_all() -> None:
    from calque.cli.options import EngineName

    assert [engine.value for engine in EngineName] == list(ENGINES)
