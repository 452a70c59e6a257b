"""Export to TensorFlow: the same log-probabilities and the same outputs as calque, in TensorFlow alone.

Models with random weights together show every option, many in each; one that was trained answers with the same text.
"""

import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from random_models import GREEDY, narrow, redrawn, sentences, step_log_probs, words, write_random
from toy_language import pairs

from calque.data.collate import collate_pairs, collate_sources
from calque.exchange.tensorflow.files import export_tensorflow
from calque.exchange.tensorflow.model import build_module
from calque.ids import PAD
from calque.model import ModelConfig, Seq2Seq
from calque.predict.predictor import load
from calque.search.hypotheses import Hypotheses
from calque.search.options import SearchConfig
from calque.search.processors import ForcedPrefix, Processor
from calque.search.steps import search
from calque.text.source import plain_sources
from calque.text.tokenizers.frame import Frame

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:::(tensorflow|keras)")]

WIDTH, VOCAB_SIZE, NUM_SENTENCES = 12, 23, 200


def recurrent(kind: str, layers: int = 2, width: int = WIDTH, **options: Any) -> dict[str, Any]:
    return {"kind": kind, "layers": layers, "width": width, **options}


def transformer(layers: int = 2, **options: Any) -> dict[str, Any]:
    return {"kind": "transformer", "layers": layers, "width": WIDTH, "heads": 3, "feed_forward": 20, **options}


def model(encoder: dict[str, Any], decoder: dict[str, Any], tie: str = "none") -> dict[str, Any]:
    return {"encoder": encoder, "decoder": decoder, "tie_embeddings": tie}


GROUPED = {"heads": 6, "key_value_heads": 2, "head_width": 4}
RELATIVE = {"kind": "relative", "buckets": 6, "distance": 5}
MODELS = {
    "lstm, general, fed": model(
        recurrent("lstm", residual=True),
        recurrent("lstm", 2, residual=True, input_feeding=True, attention={"kind": "general", "coverage_loss": 1.0}),
        "all",
    ),
    "gru, additive, final states": model(
        recurrent("gru", bidirectional=False),
        recurrent("gru", bridge="final", attention={"kind": "additive", "width": 7}),
        "target",
    ),
    "rnn, dot, mean": model(
        recurrent("rnn", residual=True), recurrent("rnn", 1, bridge="mean", attention={"kind": "dot"})
    ),
    "gru to lstm without attention": model(
        recurrent("gru", width=8), recurrent("lstm", residual=True, attention={"kind": "none"})
    ),
    "transformer to fed gru": model(
        transformer(positions=RELATIVE, norm_position="post", norm="rms", activation="swiglu", **GROUPED),
        recurrent("gru", input_feeding=True, bridge="zero", attention={"kind": "scaled_dot"}),
    ),
    "transformer": model(
        transformer(positions={"kind": "sinusoidal", "closed": True, "first": 2}),
        transformer(positions={"kind": "learned", "limit": 5}, activation="gelu", norm_embeddings=True),
        "all",
    ),
    "rotary": model(
        transformer(1, positions={"kind": "rotary"}, norm_position="post", activation="silu"),
        transformer(
            positions={"kind": "rotary", "base": 50.0},
            norm="rms",
            bias=False,
            scale_embeddings=False,
            activation="geglu",
            **GROUPED,
        ),
        "target",
    ),
    "distances": model(
        transformer(1, positions={"kind": "alibi"}, norm_embeddings=True),
        transformer(positions=RELATIVE, norm_position="post", activation="gelu_tanh"),
    ),
    "lstm to transformer": model(
        recurrent("lstm", 1, width=8), transformer(positions={"kind": "alibi"}, activation="geglu_tanh")
    ),
    "ssru": model(
        transformer(1, positions={"kind": "learned", "limit": 20}),
        transformer(mixer={"kind": "ssru"}, norm="rms", norm_position="post"),
    ),
    "average": model(
        transformer(1, positions={"kind": "none"}, bias=False),
        transformer(mixer={"kind": "average"}, activation="swiglu"),
    ),
}
OPTIONS = {
    "rnn, dot, mean": GREEDY.model_copy(update={"unknown": False, "normalisation": "gnmt", "length_penalty": 0.6})
}


@cache
def built(name: str) -> tuple[Seq2Seq, Any]:
    """Return a model and what it is in TensorFlow."""
    config = ModelConfig.model_validate(MODELS[name])
    made = redrawn(config, VOCAB_SIZE, VOCAB_SIZE)
    return made, build_module(config, made, OPTIONS.get(name, GREEDY))


def ints(tensorflow: ModuleType, tokens: torch.Tensor) -> Any:
    return tensorflow.constant(tokens.numpy(), tensorflow.int32)


def greedy(made: Seq2Seq, options: SearchConfig, *processors: Processor) -> Hypotheses:
    """Search as calque does."""
    source = collate_sources(plain_sources(sentences(NUM_SENTENCES, VOCAB_SIZE)))
    return search(made, source, source.mask.sum(dim=1), options, processors)


def compare(found: dict[str, Any], expected: Hypotheses) -> None:
    assert np.array_equal(found["lengths"], expected.lengths[:, 0])
    assert np.array_equal(found["ids"], expected.tokens[:, 0])
    np.testing.assert_allclose(found["scores"], expected.scores[:, 0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found["log_probs"], expected.log_probs[:, 0], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_each_step_has_the_same_log_probabilities(tensorflow: ModuleType, name: str) -> None:
    made, module = built(name)
    batch = collate_pairs(plain_sources(sentences(30, VOCAB_SIZE)), sentences(30, VOCAB_SIZE, seed=4))
    expected = step_log_probs(made, batch)
    ids = ints(tensorflow, batch.source.tokens), ints(tensorflow, batch.target.inputs)
    # Without a graph, which takes seconds to be traced; the program of the README runs one.
    found = module.log_probs.python_function(*ids)["log_probs"].numpy()
    assert expected.amax(dim=-1).mean() > 1.5 * -np.log(VOCAB_SIZE)
    np.testing.assert_allclose(found[batch.target.mask], expected[batch.target.mask], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_greedy_search_gives_the_same_outputs(tensorflow: ModuleType, name: str) -> None:
    made, module = built(name)
    expected = greedy(made, OPTIONS.get(name, GREEDY))
    assert len(set(expected.lengths.flatten().tolist())) > 3
    assert len(expected.tokens.unique(dim=0)) > 8
    source = collate_sources(plain_sources(sentences(NUM_SENTENCES, VOCAB_SIZE)))
    compare(module.generate(ints(tensorflow, source.tokens), tensorflow.constant(0)), expected)


def test_a_shorter_limit_ends_outputs_there(tensorflow: ModuleType) -> None:
    made, module = built("transformer")
    source = collate_sources(plain_sources(sentences(NUM_SENTENCES, VOCAB_SIZE)))
    found = module.generate(ints(tensorflow, source.tokens), tensorflow.constant(3))
    expected = greedy(made, GREEDY)
    assert int(expected.lengths.max()) > 3
    assert np.array_equal(found["lengths"], expected.lengths[:, 0].clamp(max=3))
    assert np.array_equal(found["ids"], expected.tokens[:, 0, :3])


def test_a_source_beyond_learned_positions_is_an_error(tensorflow: ModuleType) -> None:
    _, module = built("ssru")
    source = collate_sources(plain_sources([[4] * 20]))
    with pytest.raises(tensorflow.errors.InvalidArgumentError, match="at most 20 tokens"):
        module.generate(ints(tensorflow, source.tokens), tensorflow.constant(0))


def test_wishes_of_the_recipe_and_a_forced_beginning_are_followed(tensorflow: ModuleType) -> None:
    """No repeated pairs, at least six tokens and two given ones first, in outputs that would otherwise have neither."""
    name, prefix = "gru, additive, final states", (7, 5)
    config, wishes = ModelConfig.model_validate(MODELS[name]), {"no_repeat_ngram": 2, "min_length": 6}
    made, _ = built(name)
    options = GREEDY.model_copy(update=wishes)
    forced = ForcedPrefix(torch.tensor([prefix] * NUM_SENTENCES))
    expected, free = greedy(made, options, forced), greedy(made, GREEDY)
    assert int(free.lengths.min()) < 6 <= int(expected.lengths.min())
    source = collate_sources(plain_sources(sentences(NUM_SENTENCES, VOCAB_SIZE)))
    module = build_module(config, made, options, prefix)
    found = module.generate(ints(tensorflow, source.tokens), tensorflow.constant(0))
    assert {tuple(row) for row in found["ids"].numpy()[:, :2].tolist()} == {prefix}
    compare(found, expected)


def asked(program: Path, folders: list[Path], sources: list[Path]) -> list[tuple[list[list[int]], list[list[float]]]]:
    """Return what the program prints for each folder, in one process that can import neither torch nor calque.

    Beside it the first log-probabilities of each row, by the signature of that name.
    """
    driver = (
        "import json, runpy, sys\n"
        "sys.modules['torch'] = sys.modules['calque'] = None\n"
        "for arguments in json.loads(sys.argv[1]):\n"
        "    sys.argv[1:] = arguments\n"
        f"    names = runpy.run_path({str(program)!r})\n"
        "    model, rows = names['model'], names['rows']\n"
        "    first = model.signatures['log_probs'](source_ids=rows, inputs=0 * rows[:, :1] + 2)\n"
        "    print(json.dumps(first['log_probs'][:, 0].numpy().tolist()))\n"
        "    limited = model.signatures['serving_default'](source_ids=rows, max_length=names['tf'].constant(1))\n"
        "    assert max(limited['lengths'].numpy().tolist()) == 1\n"
        "    assert model.weights['encoder.embedding.weight'].shape[0] > 4\n"
    )
    arguments = json.dumps([[str(folder), str(ids)] for folder, ids in zip(folders, sources, strict=True)])
    command = [sys.executable, "-c", driver, arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return list(zip(lines[::2], lines[1::2], strict=True))


def test_the_program_in_the_readme_answers_as_calque(tensorflow: ModuleType, toy_model: Path, tmp_path: Path) -> None:
    """A trained model gives the same text, a Transformer with random weights the same ids, in TensorFlow alone.

    The Transformer is made as one from elsewhere whose answers begin with a language.
    """
    untrained = write_random(tmp_path / "transformer", narrow("transformer"), Frame(after=(5,), target=(6,)))
    folders = [tmp_path / "toy-out", tmp_path / "transformer-out"]
    for folder, out in zip((toy_model, untrained), folders, strict=True):
        export_tensorflow(folder, out)
        assert {path.name for path in (out / "text").iterdir()} == {path.name for path in (folder / "text").iterdir()}
    lines = [source for source, _ in pairs(NUM_SENTENCES, seed=8)]
    text = load(toy_model).text
    ids = [text.encode_source(lines), sentences(NUM_SENTENCES, words().source.vocab_size)]
    files = [tmp_path / "toy.json", tmp_path / "transformer.json"]
    for file, rows in zip(files, ids, strict=True):
        file.write_text(json.dumps(rows))
    (program,) = re.findall(r"```python\n(.*?)```", (folders[0] / "README.md").read_text(), re.DOTALL)
    (tmp_path / "program.py").write_text(program)
    (answers, _), (found, first) = asked(tmp_path / "program.py", folders, files)
    options = load(toy_model).options.model_copy(update={"beam": 1, "n_best": 1})
    expected = load(toy_model, options).best(lines)
    assert [text.target.decode(answer) for answer in answers] == expected
    assert sum(map(len, expected)) > NUM_SENTENCES
    assert len(set(expected)) > NUM_SENTENCES / 2
    made, batch = load(untrained).model, collate_pairs(plain_sources(ids[1]), [[]] * NUM_SENTENCES)
    forced = ForcedPrefix(torch.full([NUM_SENTENCES, 1], 6))
    hypotheses = search(made, batch.source, batch.source.mask.sum(dim=1), GREEDY, [forced])
    assert "ids [6], which are not text" in " ".join((folders[1] / "README.md").read_text().split())
    assert found == [[token for token in row if token != PAD] for row in hypotheses.tokens[:, 0].tolist()]
    np.testing.assert_allclose(first, step_log_probs(made, batch)[:, 0], rtol=1e-5, atol=1e-5)
