"""Export to ONNX without its library: records as named tensors, parts in the form that it takes, what is refused."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from random_models import narrow, redrawn, words, write_random

from calque.catalog import ARCHITECTURES
from calque.errors import UsageError
from calque.exchange.onnx.examples import Sizes, random_call, random_source
from calque.exchange.onnx.files import export_onnx
from calque.exchange.onnx.page import takes_text
from calque.exchange.onnx.parts import PackedSeveral, exportable, require_expressible
from calque.exchange.onnx.records import GrowingCache, growing, named, refilled
from calque.model import ModelConfig, build
from calque.nn.attention.multihead import Cache
from calque.nn.several import SeveralEncoder
from calque.text.pair import TextPair
from calque.text.tokenizers.subword import SentencePieceConfig, train_sentencepiece

SIZES = Sizes(batch=3, beam=2, length=8, forms=2, edges=6, time=4)
SEVERAL = {
    "encoder": {
        "kind": "several",
        "encoders": [
            {"kind": "gru", "width": 12},
            {"kind": "transformer", "layers": 1, "width": 12, "heads": 3, "feed_forward": 20},
        ],
    },
    "decoder": {"kind": "lstm", "width": 12, "attention": {"kind": "hierarchical"}},
}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_record_comes_back_from_its_named_tensors() -> None:
    call = random_call(redrawn(ModelConfig.model_validate(narrow("transformer")), 23, 21), SIZES, generator())
    tensors = named(call.state, "state")
    assert list(tensors) == [
        *(f"state.caches.{layer}.{part}" for layer in (0, 1) for part in ("keys", "values")),
        "state.position",
    ]
    doubled = named(refilled(call.state, iter([2 * tensor for tensor in tensors.values()])), "state")
    assert all(torch.equal(doubled[name], 2 * tensor) for name, tensor in tensors.items())
    assert list(named(call.context, "context"))[-1] == "context.decoder.mask"
    assert list(named(call.source, "source")) == ["source.tokens", "source.mask"]


def test_a_growing_cache_steps_as_one_with_room() -> None:
    model = redrawn(ModelConfig.model_validate(narrow("transformer")), 23, 21)
    context, roomy = model.start(random_source(model, SIZES, generator()))
    grown = growing(roomy)
    assert isinstance(roomy.caches[0], Cache)
    with torch.no_grad():
        for token in (2, 5, 6, 4):
            tokens = torch.full([SIZES.batch], token)
            expected, roomy = model.step(tokens, roomy, context)
            found, grown = model.step(tokens, grown, context)
            torch.testing.assert_close(found, expected)
    assert isinstance(grown.caches[1], GrowingCache)
    assert grown.caches[1].keys.shape == (SIZES.batch, 3, 4, 4)


def test_several_sources_are_read_alike_without_counting() -> None:
    torch.manual_seed(3)
    model = build(ModelConfig.model_validate(SEVERAL), 23, 21).eval()
    source = random_source(model, SIZES, generator(4))
    assert source.segment is not None
    assert set(source.segment[0].tolist()) == {0, 1}
    assert isinstance(model.encoder, SeveralEncoder)
    with torch.no_grad():
        expected, found = model.encoder(source), PackedSeveral(model.encoder)(source)
    mask = source.mask.unsqueeze(-1)
    torch.testing.assert_close(found.states * mask, expected.states * mask)
    torch.testing.assert_close(found.summary, expected.summary)


@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn"])
def test_a_step_of_the_copied_parts_is_a_step_of_the_model(kind: str) -> None:
    """The copy goes by cells where the model has the library's kernel, and leaves the model itself alone."""
    model = redrawn(ModelConfig.model_validate(narrow(kind)), 23, 21)
    ways = [type(way) for way in model.decoder.layers.ways]
    made = exportable(model)
    call = random_call(model, SIZES, generator(2))
    with torch.no_grad():
        expected, _ = model.step(call.token, call.state, call.context)
        found, _ = made.step(call.token, call.state, call.context)
    torch.testing.assert_close(found, expected)
    assert [type(way) for way in model.decoder.layers.ways] == ways != [type(way) for way in made.decoder.layers.ways]
    assert model.state_dict().keys() == redrawn(ModelConfig.model_validate(narrow(kind)), 23, 21).state_dict().keys()


@pytest.mark.parametrize("name", sorted(set(ARCHITECTURES) - {"memory"}))
def test_every_named_model_but_one_can_be_exported(name: str) -> None:
    assert require_expressible(ModelConfig.model_validate(narrow(name))) is None


def test_a_memory_network_is_refused_by_its_field() -> None:
    with pytest.raises(UsageError, match=r"model\.encoder\.kind is memory"):
        require_expressible(ModelConfig.model_validate(narrow("memory")))


def test_normalisation_in_the_cell_of_an_encoder_is_refused_by_its_field() -> None:
    normed: dict[str, Any] = {"kind": "gru", "layer_norm": True}
    with pytest.raises(UsageError, match=r"model\.encoder\.layer_norm is true.* export to ONNX"):
        require_expressible(ModelConfig.model_validate(narrow("gru") | {"encoder": normed}))
    several = {"kind": "several", "encoders": [{"kind": "gru"}, normed]}
    with pytest.raises(UsageError, match=r"model\.encoder\.encoders\.1\.layer_norm is true"):
        require_expressible(ModelConfig.model_validate(narrow("gru") | {"encoder": several}))
    require_expressible(ModelConfig.model_validate(narrow("hybrid") | {"decoder": normed}))


@pytest.mark.parametrize("missing", ["onnx", "onnxscript", "onnxruntime"])
def test_where_a_library_is_missing_it_says_how_to_get_it(
    missing: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = write_random(tmp_path / "model", narrow("gru"))
    for name in ("onnx", "onnxscript", "onnxruntime"):
        # Whether the others are there does not matter here.
        monkeypatch.setitem(sys.modules, name, None if name == missing else sys)
    with pytest.raises(UsageError, match=f"needs {missing}.*pip install onnx onnxscript onnxruntime"):
        export_onnx(folder, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_an_onnx_folder_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    folder = write_random(tmp_path / "model", narrow("gru"))
    with pytest.raises(UsageError, match="already exists"):
        export_onnx(folder, folder)
    with pytest.raises(UsageError, match="no model folder"):
        export_onnx(tmp_path / "none", tmp_path / "out")


def test_a_program_from_text_to_text_is_for_plain_sentencepiece() -> None:
    pieces = train_sentencepiece(SentencePieceConfig(vocab_size=300), ["one two three"])
    assert takes_text(TextPair(pieces, pieces, True, "nfc"))
    assert not takes_text(TextPair(pieces, pieces, True, "nfc", copying=True))
    assert not takes_text(words())
