"""CTranslate2's folder of a model: written only when it computes the same, with a program; the copy beside a model.

A Transformer that was trained answers with the same text, in fp32 and nearly always in int8.
"""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from random_models import GREEDY, narrow, write_random
from torch import Tensor
from toy_language import pairs, settings

from calque.data.collate import collate_sources
from calque.engines.ctranslate2 import folder as ctranslate2_folder
from calque.engines.ctranslate2.engine import PLAIN, CTranslate2, Setting
from calque.engines.ctranslate2.folder import Place, open_engine
from calque.engines.ctranslate2.spec import write_model
from calque.engines.eager import Eager
from calque.errors import CalqueError
from calque.exchange.ctranslate2 import files as ctranslate2_files
from calque.exchange.ctranslate2.files import export_ctranslate2
from calque.folder.recipe_file import read_sections
from calque.model import ModelConfig
from calque.predict import predictor as opening
from calque.text.source import plain_sources
from calque.text.tokenizers.frame import Frame

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ctranslate2")]

NUM_LINES = 200


@pytest.fixture(scope="module")
def learned(toy_data: Path) -> Path:
    """Return the folder of a small Transformer that answers half of the unseen lines of the toy language."""
    from calque.cli.main import main

    folder = toy_data.parent / "digits-transformer"
    sizes = ("width=64", "layers=2", "dropout=0")
    values = [
        *(f"model.{side}.{value}" for side in ("encoder", "decoder") for value in sizes),
        *("train.precision=fp32", "train.device=cpu", "train.batch_tokens=256", "train.lr=0.003", "train.warmup=100"),
        *("train.label_smoothing=0.0", "train.max_epochs=40", "train.validate_every=200", "train.patience=100"),
    ]
    arguments = ["train", str(toy_data), "--out", str(folder), "--model", "transformer", "--size", "tiny"]
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--threads", "1", "--seed", "3", *settings(values), "--quiet"])
    assert ended.value.code == 0
    return folder


def opened(folder: Path, setting: Setting = PLAIN, **options: Any) -> opening.Predictor:
    """Return the predictor of a folder with the engine of CTranslate2."""
    predictor = opening.load(folder)
    config = ModelConfig.model_validate(read_sections(folder)["model"])
    engine = open_engine(predictor.model, config, Place.of(folder), setting)
    return replace(predictor, engine=engine, options=predictor.options.model_copy(update=options))


@pytest.mark.parametrize("beam", [1, 5])
def test_a_trained_model_answers_with_the_same_text(learned: Path, beam: int) -> None:
    lines = [source for source, _ in pairs(NUM_LINES, seed=8)]
    predictor = opening.load(learned, beam=beam)
    expected = predictor.answers(lines)
    found = opened(learned, beam=beam).answers(lines)
    assert [row[0].text for row in found] == [row[0].text for row in expected]
    assert len({row[0].text for row in found}) > NUM_LINES / 5
    for one, other in zip(found, expected, strict=True):
        assert abs(one[0].score - other[0].score) < 1e-4
    right = sum(row[0].text == target for row, (_, target) in zip(found, pairs(NUM_LINES, seed=8), strict=True))
    assert right > 0.4 * NUM_LINES
    reduced = opened(learned, Setting(compute_type="int8"), beam=beam).best(lines)
    assert sum(row[0].text == text for row, text in zip(expected, reduced, strict=True)) > 0.7 * NUM_LINES


def test_the_program_in_the_readme_answers_as_calque(learned: Path, tmp_path: Path) -> None:
    """In a process that can import neither torch nor calque."""
    export_ctranslate2(learned, tmp_path / "out")
    (program,) = re.findall(r"```python\n(.*?)```", (tmp_path / "out" / "README.md").read_text(), re.DOTALL)
    (tmp_path / "program.py").write_text(program)
    lines = [source for source, _ in pairs(NUM_LINES, seed=8)]
    driver = (
        "import runpy, sys\n"
        "sys.modules['torch'] = sys.modules['calque'] = sys.modules['transformers'] = None\n"
        "sys.argv[:] = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0])\n"
    )
    command = [sys.executable, "-c", driver, str(tmp_path / "program.py"), str(tmp_path / "out")]
    for more in ([], ["int8"]):
        done = subprocess.run(
            command + more, input="\n".join(lines), capture_output=True, text=True, check=False, timeout=200
        )
        assert done.returncode == 0, done.stderr[-2000:]
        answers, expected = done.stdout.splitlines(), opening.load(learned).best(lines)
        same = sum(one == other for one, other in zip(answers, expected, strict=True))
        assert same >= (0.7 if more else 0.995) * NUM_LINES


def test_what_stands_around_a_source_is_in_the_program(tmp_path: Path) -> None:
    folder = write_random(tmp_path / "model", narrow("transformer"), Frame(before=(5,), after=(6,), target=(7,)))
    export_ctranslate2(folder, tmp_path / "out")
    page = (tmp_path / "out" / "README.md").read_text()
    assert "sources.append(['s1', *line.split(), 's2', \"</s>\"])" in page
    assert "target_prefix=[['t3']] * len(sources)" in page
    assert json.loads((tmp_path / "out" / "source_vocabulary.json").read_text())[:5] == [
        *("<pad>", "<unk>", "<s>", "</s>"),
        "s0",
    ]


@pytest.mark.parametrize("broken", ["decoder.norm.weight", "encoder.layers.1.attention.key_value.bias"])
def test_an_export_that_computes_something_else_is_not_written(
    broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_random(tmp_path / "model", narrow("transformer"))

    def wrong(out: Path, config: ModelConfig, state: dict[str, Tensor], names: Any) -> None:
        write_model(out, config, {**state, broken: state[broken].flip(0)}, names)

    monkeypatch.setattr(ctranslate2_files, "write_model", wrong)
    with pytest.raises(CalqueError, match="does not compute the same as calque"):
        export_ctranslate2(folder, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_the_copy_beside_a_model_is_made_once_and_never_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_random(tmp_path / "model", narrow("transformer"))
    made: list[Path] = []

    def counted(out: Path, *others: Any) -> None:
        made.append(out)
        write_model(out, *others)

    monkeypatch.setattr(ctranslate2_folder, "write_model", counted)
    rows = torch.tensor([[5, 6, 7, 3]])

    def answered() -> list[float]:
        engine = opened(folder).engine
        source = collate_sources(plain_sources([[5, 6, 7]]))
        with torch.inference_mode():
            found = engine(source, torch.tensor([4]), rows[:, :0], GREEDY)
            own = Eager(opening.load(folder).model)(source, torch.tensor([4]), rows[:, :0], GREEDY)
        assert found.tokens.tolist() == own.tokens.tolist()
        torch.testing.assert_close(found.log_probs, own.log_probs)
        return found.log_probs.flatten().tolist()

    first = answered()
    assert answered() == first
    assert len(made) == 1
    (copy,) = (folder / "engines").iterdir()
    # Damage: one byte of the weights, and a file that is missing.
    data = bytearray((copy / "model.bin").read_bytes())
    data[len(data) // 2] ^= 1
    (copy / "model.bin").write_bytes(data)
    assert answered() == first
    (copy / "config.json").unlink()
    assert answered() == first
    assert len(made) == 3
    # Other weights in the same folder: as training leaves them.
    other = write_random(tmp_path / "other", narrow("transformer") | {"tie_embeddings": "none"})
    for name in ("model.safetensors", "recipe.json", "manifest.json"):
        shutil.copy(other / name, folder / name)
    assert answered() != first
    assert len(made) == 4
    assert [path.name for path in (folder / "engines").iterdir()] != [copy.name]
    assert len(list((folder / "engines").iterdir())) == 1


def test_where_nothing_can_be_written_the_copy_serves_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_random(tmp_path / "model", narrow("transformer"))
    (folder / "engines").write_text("a file where the folder would be")
    predictor = opened(folder)
    assert isinstance(predictor.engine, CTranslate2)
    assert predictor(["s1 s2", "s3"]) == opening.load(folder)(["s1 s2", "s3"])
    assert (folder / "engines").is_file()
