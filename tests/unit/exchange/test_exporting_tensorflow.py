"""Export to TensorFlow: what it cannot compute is named by its field, a missing library by how it is installed."""

import sys
from pathlib import Path
from typing import Any, get_args

import pytest
from random_models import narrow, write_random

from calque.config import Config
from calque.errors import UsageError
from calque.exchange.limits import CELLS
from calque.exchange.tensorflow import basics as tensorflow_basics
from calque.exchange.tensorflow import recurrent as tensorflow_recurrent
from calque.exchange.tensorflow.files import export_tensorflow, require_plain_lines
from calque.exchange.tensorflow.model import require_expressible
from calque.exchange.tensorflow.transformer import FUNCTIONS, INNER, MIXERS, NORMS
from calque.model import ModelConfig
from calque.nn.attention.additive import AdditiveAttentionConfig
from calque.nn.attention.dot import DotAttentionConfig, GeneralAttentionConfig, ScaledDotAttentionConfig
from calque.nn.norms import Norm
from calque.nn.recurrent.bridge import BRIDGES
from calque.nn.recurrent.cells import STATES
from calque.nn.recurrent.encoder_decoder import RecurrentDecoderConfig, RecurrentEncoderConfig
from calque.nn.transformer.encoder_decoder import TransformerDecoderConfig, TransformerEncoderConfig
from calque.nn.transformer.feed_forward import ACTIVATIONS
from calque.nn.transformer.mixer_kinds import MixerConfig
from calque.nn.transformer.positions import PositionsConfig
from calque.search.options import SearchConfig
from calque.text.inputs import Inputs
from calque.text.pair import TextPair
from calque.text.tokenizers.symbols import ByteTokenizer


def test_where_tensorflow_is_missing_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = write_random(tmp_path / "model", narrow("gru"))
    tensorflow_basics.library.cache_clear()
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(UsageError, match="pip install tensorflow"):
        export_tensorflow(folder, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_folder_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    folder = write_random(tmp_path / "model", narrow("gru"))
    with pytest.raises(UsageError, match="already exists"):
        export_tensorflow(folder, folder)
    with pytest.raises(UsageError, match="no model folder"):
        export_tensorflow(tmp_path / "none", tmp_path / "out")


def test_answers_that_begin_with_a_tag_are_refused() -> None:
    def text(side: str) -> TextPair:
        inputs = Inputs.model_validate({"tag": "language", "tag_side": side, "tags": ("de", "fr")})
        return TextPair(ByteTokenizer(), ByteTokenizer(), False, "nfc", inputs=inputs)

    require_plain_lines(text("source"))
    with pytest.raises(UsageError, match=r"text\.tag_side is target"):
        require_plain_lines(text("target"))


@pytest.mark.parametrize("name", ["basic-lstm", "lstm", "gru", "rnn", "transformer", "fast", "hybrid"])
def test_these_named_models_can_be_exported(name: str) -> None:
    assert require_expressible(ModelConfig.model_validate(narrow(name))) is None


@pytest.mark.parametrize(
    ("name", "section", "field"),
    [
        ("pointer", {}, "model.decoder.attention.coverage is true"),
        ("graph", {}, "model.encoder.kind is graph_transformer"),
        (
            "transformer",
            {"encoder": {"kind": "several", "encoders": [{"kind": "lstm"}] * 2}},
            "encoder.kind is several",
        ),
        ("transformer", {"head": {"kind": "pointer"}}, "model.head.kind is pointer"),
        ("lstm", {"encoder": {"kind": "lstm", "layer_norm": True}}, "model.encoder.layer_norm is true"),
        ("hybrid", {"decoder": {"kind": "gru", "layer_norm": True}}, "model.decoder.layer_norm is true"),
        ("lstm", {"decoder": {"kind": "gru", "attention": {"kind": "location"}}}, "attention.kind is location"),
        ("lstm", {"decoder": {"kind": "gru", "attention": {"kind": "multi_head"}}}, "attention.kind is multi_head"),
        (
            "hybrid",
            {"decoder": {"kind": "gru", "attention": {"kind": "general", "normaliser": "sparsemax"}}},
            "model.decoder.attention.normaliser is sparsemax",
        ),
    ],
)
def test_what_it_cannot_compute_is_named_by_its_field(name: str, section: dict[str, Any], field: str) -> None:
    with pytest.raises(UsageError, match=f"{field}.* export to TensorFlow"):
        require_expressible(ModelConfig.model_validate(narrow(name) | section))


SHARED = {"kind", "layers", "width", "dropout"}
RECURRENT = SHARED | {"residual", "layer_norm", "variational_dropout"}
TRANSFORMER = SHARED | {
    *("heads", "key_value_heads", "head_width", "feed_forward", "activation", "positions", "norm", "norm_position"),
    *("norm_epsilon", "norm_embeddings", "scale_embeddings", "bias"),
    *("attention_dropout", "activation_dropout", "layer_drop"),
}
ATTENTION = {"kind", "normaliser", "coverage", "coverage_loss"}
SEARCH = {
    *("beam", "n_best", "max_length_ratio", "max_length_extra", "min_length", "length_penalty", "normalisation"),
    *("no_repeat_ngram", "unknown"),
}


@pytest.mark.parametrize(
    ("config", "fields"),
    [
        (RecurrentEncoderConfig, RECURRENT | {"bidirectional"}),
        (RecurrentDecoderConfig, RECURRENT | {"attention", "input_feeding", "bridge"}),
        (TransformerEncoderConfig, TRANSFORMER),
        (TransformerDecoderConfig, TRANSFORMER | {"mixer", "coverage_loss"}),
        (DotAttentionConfig, ATTENTION),
        (ScaledDotAttentionConfig, ATTENTION),
        (GeneralAttentionConfig, ATTENTION),
        (AdditiveAttentionConfig, ATTENTION | {"width"}),
        (SearchConfig, SEARCH),
        (ModelConfig, {"encoder", "decoder", "head", "tie_embeddings"}),
    ],
)
def test_there_is_no_field_that_export_does_not_know(config: type[Config], fields: set[str]) -> None:
    """A new field fails here: compute it in TensorFlow and Keras, or refuse it, and list it."""
    assert config.model_fields.keys() == fields


def test_there_is_no_kind_that_export_does_not_know() -> None:
    """Each part that is chosen by name is there, or is refused."""
    assert BRIDGES.keys() == tensorflow_recurrent.BRIDGES.keys()
    assert STATES.keys() == tensorflow_recurrent.STATES.keys() == set(CELLS)
    assert {name for name in ACTIVATIONS if name not in INNER} <= FUNCTIONS.keys()
    assert INNER.keys() == {name for name, (_, is_gated) in ACTIVATIONS.items() if is_gated}
    assert set(NORMS) == set(get_args(Norm))
    assert kinds(MixerConfig) == MIXERS.keys()
    assert kinds(PositionsConfig) == {"sinusoidal", "learned", "relative", "rotary", "alibi", "none"}


def kinds(union: Any) -> set[str]:
    """Return the kinds of a union of configs."""
    return {member.model_fields["kind"].default for member in get_args(get_args(union)[0])}
