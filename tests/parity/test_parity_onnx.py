"""Law 12 for ONNX: what onnxruntime makes of the exported graphs is what the model computes, for every architecture.

Sizes of the calls are none of those that the graphs were traced with: free axes must be free.
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest
import torch
from random_models import GREEDY, narrow, words
from toy_language import Finished, pairs, train_command

from calque import rows
from calque.batch import Source
from calque.catalog import ARCHITECTURES
from calque.data.collate import collate_sources
from calque.errors import CalqueError
from calque.exchange.onnx import check as onnx_check
from calque.exchange.onnx import files as onnx_files
from calque.exchange.onnx.check import Runtime, require_equal
from calque.exchange.onnx.examples import Sizes, random_source
from calque.exchange.onnx.files import export_onnx
from calque.exchange.onnx.graphs import write_graphs
from calque.exchange.out_folder import write_model_folder
from calque.ids import BOS, PAD
from calque.model import ModelConfig, Seq2Seq, build
from calque.predict.predictor import load
from calque.search.steps import search
from calque.tasks.kinds import TaskConfig
from calque.text.source import SourceIds

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("onnx")]

SOURCE_SIZE, TARGET_SIZE, WIDTH = 23, 21, 12
CALLS = {
    "one of one": Sizes(batch=1, beam=1, length=1, forms=0, edges=0, time=1),
    "one long": Sizes(batch=1, beam=1, length=37, forms=5, edges=50, time=40),
    "many": Sizes(batch=7, beam=1, length=6, forms=1, edges=4, time=9),
    "beams": Sizes(batch=4, beam=5, length=8, forms=2, edges=7, time=10),
}


def recurrent(kind: str, **options: Any) -> dict[str, Any]:
    return {"kind": kind, "layers": 2, "width": WIDTH, **options}


def transformer(**options: Any) -> dict[str, Any]:
    return {"kind": "transformer", "layers": 1, "width": WIDTH, "heads": 3, "feed_forward": 20, **options}


GROUPED = {"heads": 6, "key_value_heads": 2, "head_width": 4}
RELATIVE = {"kind": "relative", "buckets": 6, "distance": 5}
OTHERS: dict[str, dict[str, Any]] = {
    "two sources": {
        "encoder": {"kind": "several", "encoders": [recurrent("lstm"), transformer()]},
        "decoder": recurrent("gru", bridge="mean", attention={"kind": "hierarchical"}),
    },
    "graph attention to a normed lstm": {
        "encoder": {"kind": "gat", "layers": 1, "width": WIDTH, "heads": 3, "feed_forward": 20, "edge_kinds": 3},
        "decoder": recurrent(
            "lstm",
            layer_norm=True,
            input_feeding=True,
            attention={"kind": "location", "normaliser": "entmax", "filters": 3, "kernel": 5},
        ),
    },
    "gated graph to a local rnn": {
        "encoder": {"kind": "ggnn", "layers": 2, "width": WIDTH, "edge_kinds": 1},
        "decoder": recurrent("rnn", attention={"kind": "local", "normaliser": "sparsemax", "window": 2}),
    },
    "heads with coverage, copying": {
        "encoder": transformer(positions={"kind": "alibi"}, activation="swiglu"),
        "decoder": recurrent("lstm", attention={"kind": "multi_head", "heads": 3, "coverage": True}),
        "head": {"kind": "pointer"},
    },
    "rotary to relative, copying": {
        "encoder": transformer(positions={"kind": "rotary"}, norm_position="post", **GROUPED),
        "decoder": transformer(positions=RELATIVE, norm="rms", bias=False, coverage_loss=1.0, **GROUPED),
        "head": {"kind": "pointer"},
    },
    "gru to average, learned": {
        "encoder": recurrent("gru", bidirectional=False, residual=True),
        "decoder": transformer(mixer={"kind": "average"}, positions={"kind": "learned", "limit": 5}),
    },
}


def shallow(section: dict[str, Any]) -> dict[str, Any]:
    """Return a model with one layer a side: tracing takes as long as there are layers."""
    return section | {side: section[side] | {"layers": 1} for side in ("encoder", "decoder")}


# Layers stand on each other in one of the kinds, and in others below.
DEEP = "lstm"
MODELS = {
    name: narrow(name) if name == DEEP else shallow(narrow(name)) for name in ARCHITECTURES if name != "memory"
} | OTHERS
# What takes longest to trace, beyond the catalog, is left to `make test-long`.
LONG = ("graph attention to a normed lstm", "heads with coverage, copying", "rotary to relative, copying")
NAMES = [pytest.param(name, marks=[pytest.mark.long] if name in LONG else []) for name in MODELS]


def random_model(section: dict[str, Any]) -> Seq2Seq:
    """Return a model whose every weight is drawn widely enough to matter."""
    torch.manual_seed(7)
    model = build(ModelConfig.model_validate(section), SOURCE_SIZE, TARGET_SIZE).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.uniform_(-0.5, 0.5)
            if "norm" in name and name.endswith("weight"):
                parameter.add_(1.0)
    return model


@cache
def exported(name: str) -> tuple[Seq2Seq, Runtime]:
    """Return a model and its graphs at work."""
    model, folder = random_model(MODELS[name]), Path(mkdtemp())
    write_graphs(model, folder)
    return model, Runtime(folder)


@torch.no_grad()
def both_paths(model: Seq2Seq, runtime: Runtime, source: Source, sizes: Sizes) -> list[tuple[Any, Any]]:
    """Return the log-probabilities of each step of both, over the same random tokens, rows changing places."""
    generator = torch.Generator().manual_seed(11)
    context, state = model.start(source)
    arrays, own = runtime.start(source)
    order = torch.arange(sizes.batch).repeat_interleave(sizes.beam)
    token, found = torch.full([len(order)], BOS), []
    for _ in range(sizes.time):
        state = rows.select(state, order)
        own = {name: value[order.numpy()] for name, value in own.items()}
        expected, state = model.step(token, state, context)
        log_probs, own = runtime.step(token.numpy(), own, arrays)
        found.append((log_probs, expected.numpy()))
        # Any hypothesis of a sentence may continue any other.
        parents = torch.randint(sizes.beam, (sizes.batch, sizes.beam), generator=generator)
        order = (torch.arange(sizes.batch)[:, None] * sizes.beam + parents).flatten()
        token = torch.randint(expected.shape[1], order.shape, generator=generator)
    return found


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", NAMES)
def test_each_step_of_the_graphs_has_the_models_log_probabilities(name: str, call: str) -> None:
    model, runtime = exported(name)
    sizes = CALLS[call]
    if "two" in name:
        sizes = replace(sizes, length=max(4, sizes.length))
    source = random_source(model, sizes, torch.Generator().manual_seed(5))
    for found, expected in both_paths(model, runtime, source, sizes):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)
        # Far from the same for every token.
        assert expected[expected > -50].std() > 0.1


@pytest.mark.parametrize("name", ["lstm", "transformer", "graph", "pointer", "two sources"])
def test_padding_of_a_source_changes_nothing_in_the_graphs(name: str) -> None:
    model, runtime = exported(name)
    sizes = Sizes(batch=3, beam=1, length=9, forms=2, edges=5, time=1)
    source = random_source(model, sizes, torch.Generator().manual_seed(6))
    more = {
        field: tensor if field in ("edges", "forms") else torch.nn.functional.pad(tensor, (0, 4))
        for field, tensor in vars(source).items()
        if tensor is not None
    }
    token = np.full(sizes.batch, BOS)
    (plain, _), (padded, _) = (runtime.step(token, *reversed(runtime.start(each))) for each in (source, Source(**more)))
    np.testing.assert_allclose(padded, plain, rtol=1e-5, atol=1e-5)
    alone = rows.select(source, torch.tensor([2]))
    (single, _) = runtime.step(token[:1], *reversed(runtime.start(alone)))
    np.testing.assert_allclose(single, plain[2:], rtol=1e-5, atol=1e-5)


def test_graphs_of_other_weights_are_seen_and_nothing_is_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Weights moved by little after the graphs were written: an exporter that is wrong by as much must not pass."""
    model = random_model(MODELS["gru"])
    write_graphs(model, tmp_path)
    require_equal(model, tmp_path)
    with torch.no_grad():
        model.decoder.combine.weight[0, 0] += 0.02
    with pytest.raises(CalqueError, match="nothing was written"):
        require_equal(model, tmp_path)
    folder = write_folder(tmp_path / "model", "gru", copying=False)
    monkeypatch.setattr(onnx_check, "TOLERANCE", -1.0)
    with pytest.raises(CalqueError, match="nothing was written"):
        onnx_files.export_onnx(folder, tmp_path / "out")
    assert not [path.name for path in tmp_path.iterdir() if "out" in path.name]


def write_folder(folder: Path, name: str, copying: bool, **options: object) -> Path:
    """Write a model folder over made-up words."""
    text = replace(words(), copying=copying)
    config = ModelConfig.model_validate(MODELS[name])
    model = random_model(MODELS[name])
    sections = {
        "format": 1,
        "data": {"max_length": 100},
        "model": config.model_dump(),
        "search": GREEDY.model_dump() | {"max_length_extra": 6, "min_length": 2, "unknown": False} | options,
        "task": TaskConfig().model_dump(),
    }
    assert (text.source.vocab_size, text.target.vocab_size) == (SOURCE_SIZE, TARGET_SIZE)
    write_model_folder(folder, sections, dict(model.named_parameters()), text)
    return folder


def program_output(out: Path, stdin: str) -> list[str]:
    """Return the lines that the program of a README prints in a process that can import neither torch nor calque."""
    (program,) = re.findall(r"```python\n(.*?)```", (out / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    path = out.parent / "program.py"
    path.write_text(program, encoding="utf-8")
    driver = (
        "import runpy, sys\n"
        "sys.modules['torch'] = sys.modules['calque'] = None\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    command = [sys.executable, "-X", "utf8", "-c", driver, str(path), str(out)]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"beam": 4},
        {"beam": 5, "length_penalty": 0.6, "normalisation": "gnmt", "no_repeat_ngram": 2},
        {"beam": 3, "normalisation": "none", "min_length": 4},
    ],
)
def test_the_program_searches_over_ids_and_copies_as_calque(tmp_path: Path, options: dict[str, Any]) -> None:
    folder = write_folder(tmp_path / "model", "pointer", copying=True, **options)
    export_onnx(folder, tmp_path / "out")
    predictor = load(folder)
    text = " ".join(f"s{number}" for number in range(6))
    read = predictor.text.read_sources([text, "s3 unheard s5 never", "s1", "a b c s2 b"])
    given = [{"tokens": source.tokens, "copy_ids": source.copy_ids} for source in read]
    found = program_output(tmp_path / "out", "".join(json.dumps(each) + "\n" for each in given))
    expected = []
    for source in read:
        record = collate_sources([source], TARGET_SIZE)
        tokens = search(predictor.model, record, record.mask.sum(dim=1), predictor.options).tokens[0, 0]
        expected.append([token for token in tokens.tolist() if token != PAD])
    assert [json.loads(line) for line in found] == expected
    assert len({tuple(answer) for answer in expected}) > 2
    assert any(token >= TARGET_SIZE for answer in expected for token in answer)
    page = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert '{"tokens": [17, 5], "copy_ids": […]}' in page


def test_the_program_answers_text_as_calque(tmp_path: Path, command: Callable[..., Finished]) -> None:
    """A model over SentencePiece, trained until it knows some of its language; exported by the command."""
    data = tmp_path / "digits.en-zh.tsv"
    data.write_text("".join(f"{source}\t{target}\n" for source, target in pairs(600)), encoding="utf-8")
    values = [
        *("train.precision=fp32", "train.device=cpu", "train.batch_tokens=256", "train.max_updates=300"),
        *("train.lr=0.01", "train.warmup=10", "train.patience=100", "train.validate_every=150"),
        *("train.save_every=150", "train.validation_sentences=20", "model.encoder.width=32"),
        *("model.decoder.width=32", "text.source.vocab_size=300", "text.target.vocab_size=300"),
    ]
    folder, out = tmp_path / "model", tmp_path / "out"
    assert command(*train_command(data, folder, values), "--quiet").code == 0
    done = command("export", folder, out, "--to", "onnx")
    assert (done.code, done.out) == (0, "")
    assert "encoder.onnx and decoder_step.onnx" in done.err
    assert {path.name for path in (out / "text").iterdir()} == {path.name for path in (folder / "text").iterdir()}
    lines = [source for source, _ in pairs(60, seed=8)]
    lines[3:3] = ["", "  ", "\u3000"]
    predictor = load(folder)
    assert predictor.options.beam > 1
    expected = predictor.best(lines)
    assert program_output(out, "".join(line + "\n" for line in lines)) == expected
    assert expected[3:6] == ["", "", ""]
    assert len(set(expected)) > 20
    assert program_output(out, "") == []


def test_the_description_names_what_the_graphs_have(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "model", "transformer", copying=False)
    export_onnx(folder, tmp_path / "out")
    described = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))
    runtime = Runtime(tmp_path / "out")
    for part, session in (("encoder", runtime.encoder), ("decoder_step", runtime.decoder_step)):
        inputs = {
            entry.name: {"type": {"tensor(float)": "float32"}.get(entry.type, entry.type[7:-1]), "shape": entry.shape}
            for entry in session.get_inputs()
        }
        assert inputs == described[part]["inputs"]
        assert [entry.name for entry in session.get_outputs()] == described[part]["outputs"]
    assert described["decoder_step"]["inputs"]["state.caches.0.keys"]["shape"] == ["rows", 3, "time", 4]
    assert described["decoder_step"]["inputs"]["context.decoder.keys.0"]["shape"] == ["batch", 3, "source_length", 4]
    assert described["search"]["max_length_extra"] == 6
    sources = [SourceIds([5, 6, 7])]
    record = collate_sources(sources)
    context, state = runtime.start(record)
    assert list(context) == described["context"]
    assert list(state) == described["state"]
    assert state["state.caches.0.values"].shape == (1, 3, 0, 4)
