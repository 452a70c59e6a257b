"""What of Hugging Face's configs and weights is taken, and what is refused, by its name; without their library."""

import json
from typing import Any

import pytest
import torch
from torch import Tensor

from calque.catalog import architecture
from calque.errors import UsageError
from calque.exchange.huggingface.config import SpecialIds, huggingface_config, model_config
from calque.exchange.huggingface.tables import SILENCED, fetched, is_silenced, placed, placed_on_both
from calque.exchange.huggingface.weights import fit_tables, to_calque, to_huggingface
from calque.ids import BOS, EOS, PAD, UNK
from calque.model import ModelConfig, build
from calque.nn.heads.likelihood import smoothed_likelihood

PART: dict[str, Any] = {"kind": "transformer", "layers": 2, "width": 8, "heads": 2, "feed_forward": 12}
SIZE = 9
IDS = list(range(SIZE))
TABLES = ("embed_tokens.weight", "shared.weight", "lm_head.weight")
T5_PART = {"positions": {"kind": "relative"}, "norm": "rms", "bias": False, "norm_epsilon": 1e-6}
LEARNED = {"positions": {"kind": "learned", "limit": 11}, "norm_embeddings": True, "norm_position": "post"}
BART: dict[str, Any] = {"model_type": "bart", "d_model": 8, "encoder_attention_heads": 2, "decoder_attention_heads": 2}


def section(options: dict[str, Any], **rest: Any) -> ModelConfig:
    """Return a model with the same options on both sides."""
    return ModelConfig.model_validate({"encoder": PART | options, "decoder": PART | options, **rest})


def exported(options: dict[str, Any], **rest: Any) -> tuple[ModelConfig, dict[str, Any], dict[str, Tensor]]:
    """Return a model, the config of the class that fits it, and random weights under its names."""
    torch.manual_seed(5)
    model = section(options, tie_embeddings="all", **rest)
    config = huggingface_config(model, SIZE, SIZE)
    state = {name: parameter.detach() for name, parameter in build(model, SIZE, SIZE).named_parameters()}
    return model, config, to_huggingface(state, model, config, IDS, IDS)


@pytest.mark.parametrize(
    ("options", "model_type"),
    [
        ({}, "pegasus"),
        ({"norm_position": "post"}, "marian"),
        (LEARNED, "bart"),
        (LEARNED | {"norm_position": "pre"}, "mbart"),
        ({"positions": {"kind": "sinusoidal", "closed": True, "first": 2}}, "m2m_100"),
        (T5_PART, "t5"),
    ],
)
def test_a_config_comes_back(options: dict[str, Any], model_type: str) -> None:
    """Depths, heads and units of the sides may differ where the class has them apart."""
    t5 = model_type == "t5"
    own = {"layers": 3, **({"dropout": 0.25} if t5 else {"heads": 4, "feed_forward": 5, "layer_drop": 0.125})}
    encoder = PART | options | {"dropout": 0.25, "attention_dropout": 0.25, "activation_dropout": 0.25}
    head = {"kind": "softmax", "learned_bias": False}
    sides = {"encoder": encoder, "decoder": encoder | own}
    model = ModelConfig.model_validate(sides | {"head": head, "tie_embeddings": "all"})
    config = huggingface_config(model, 7, 7, SpecialIds(pad=1))
    assert config["model_type"] == model_type
    assert model_config(json.loads(json.dumps(config))) == model


def test_the_catalogs_transformer_has_a_class() -> None:
    config = huggingface_config(ModelConfig.model_validate(architecture("transformer", "tiny")), 7, 7)
    assert config["architectures"] == ["PegasusForConditionalGeneration"]


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({}, ["model_type", "marian"]),
        ({"model_type": "marain"}, ["'marain'", 'Did you mean "marian"']),
        ({"model_type": ["bart"]}, ["model_type"]),
        (BART | {"activation_function": "mish"}, ["activation_function", "'mish'", "gelu"]),
        (BART | {"activation_function": 3}, ["activation_function", "a text", "3"]),
        (BART | {"normalize_before": True}, ["normalize_before", "False"]),
        (BART | {"add_final_layer_norm": True}, ["add_final_layer_norm"]),
        (BART | {"normalize_embedding": False}, ["normalize_embedding", "True"]),
        (BART | {"static_position_embeddings": True}, ["static_position_embeddings"]),
        (BART | {"scale_embedding": 1}, ["scale_embedding", "true or false"]),
        (BART | {"d_model": 9}, ["d_model (9)", "encoder_attention_heads (2)"]),
        (BART | {"decoder_attention_heads": 3}, ["decoder_attention_heads (3)"]),
        (BART | {"d_model": "8"}, ["d_model", "whole number", "'8'"]),
        (BART | {"d_model": 2**40}, ["d_model", str(2**40)]),
        (BART | {"decoder_layers": 10**6}, ["decoder_layers", "1024"]),
        (BART | {"encoder_layers": True}, ["encoder_layers"]),
        (BART | {"hidden_size": 16}, ["d_model is 8", "hidden_size"]),
        (BART | {"dropout": 1.5}, ["dropout", "1.5"]),
        (BART | {"is_encoder_decoder": False}, ["is_encoder_decoder"]),
        (BART | {"tie_encoder_decoder": True}, ["tie_encoder_decoder"]),
        (BART | {"quantization_config": {"bits": 4}}, ["quantization_config"]),
        (BART | {"architectures": ["BartForSequenceClassification"]}, ["BartForSequenceClassification"]),
        ({"model_type": "m2m_100", "decoder_start_token_id": 1}, ["decoder_start_token_id", "pad_token_id"]),
        ({"model_type": "t5", "feed_forward_proj": "gated-relu"}, ["feed_forward_proj", "gated 'relu'"]),
        ({"model_type": "t5", "feed_forward_proj": "twice-gelu"}, ["feed_forward_proj", "twice-gelu"]),
        ({"model_type": "t5", "relative_attention_max_distance": 16}, ["relative_attention_max_distance (16)"]),
        ({"model_type": "t5", "layer_norm_epsilon": -1}, ["layer_norm_epsilon", "-1"]),
        ({"model_type": "t5", "tie_word_embeddings": "no"}, ["tie_word_embeddings"]),
    ],
)
def test_configs_that_are_refused(config: dict[str, Any], named: list[str]) -> None:
    with pytest.raises(UsageError) as error:
        model_config(config)
    assert all(part in str(error.value) for part in ["config.json", *named]), error.value


def test_null_is_as_good_as_absent() -> None:
    assert model_config(BART | {"encoder_layers": None, "pruned_heads": None}) == model_config(BART)


LSTM = {"kind": "lstm", "layers": 2, "width": 8}


@pytest.mark.parametrize(
    ("encoder", "decoder", "rest", "named"),
    [
        (LSTM, PART, {}, "model.encoder.kind"),
        (PART, LSTM, {}, "model.decoder.kind"),
        (PART, PART | {"mixer": {"kind": "ssru"}}, {}, "model.decoder.mixer.kind"),
        (PART, PART, {"head": {"kind": "pointer"}}, "model.head.kind"),
        (PART | {"positions": {"kind": "rotary"}}, PART, {}, "model.encoder.positions.kind"),
        (PART, PART | {"norm_position": "post"}, {}, "model.decoder.norm_position"),
        (PART, PART | {"width": 12}, {}, "model.decoder.width"),
        (PART, PART | {"positions": {"kind": "sinusoidal", "first": 1}}, {}, "model.decoder.positions"),
        *(
            (PART | options, PART | options, {}, f"model.encoder.{next(iter(options))}")
            for options in (
                {"positions": {"kind": "sinusoidal", "first": 1}},
                {"activation": "swiglu"},
                {"norm": "rms"},
                {"norm_epsilon": 1e-6},
                {"norm_embeddings": True},
                {"bias": False},
                {"key_value_heads": 1},
                {"head_width": 3},
                {"positions": {"kind": "sinusoidal", "closed": True, "first": 3}},
            )
        ),
        (PART | T5_PART | {"bias": True}, PART | T5_PART | {"bias": True}, {}, "model.encoder.bias"),
        (PART | T5_PART, PART | T5_PART | {"heads": 4}, {}, "model.decoder.heads"),
        (PART | T5_PART, PART | T5_PART | {"feed_forward": 5}, {}, "model.decoder.feed_forward"),
    ],
)
def test_models_that_no_class_has(encoder: Any, decoder: Any, rest: dict[str, Any], named: str) -> None:
    model = ModelConfig.model_validate({"encoder": encoder, "decoder": decoder, **rest})
    with pytest.raises(UsageError, match=named.replace(".", r"\.")):
        huggingface_config(model, 7, 7)


def test_two_vocabularies_are_marians_alone() -> None:
    assert huggingface_config(section({"norm_position": "post"}), 7, 6)["decoder_vocab_size"] == 6
    with pytest.raises(UsageError, match=r"model\.tie_embeddings.* 7 and 6 tokens"):
        huggingface_config(section({}), 7, 6)


@pytest.mark.parametrize("options", [{}, LEARNED, T5_PART], ids=["pegasus", "bart", "t5"])
def test_names_come_with_or_without_a_prefix_and_tables_once_or_often(options: dict[str, Any]) -> None:
    model, config, weights = exported(options)
    expected = to_calque(weights, config, model, IDS, IDS)
    bare = {name.removeprefix("model."): tensor for name, tensor in weights.items()}
    tables = [name for name in bare if name.endswith(TABLES)]
    assert len(tables) == 4
    for kept in tables:
        fewer = {name: tensor for name, tensor in bare.items() if name == kept or name not in tables}
        for given in (fewer, {f"transformer.{name}": tensor for name, tensor in fewer.items()}):
            assert fit_tables(model, given, config, IDS, IDS) == model
            found = to_calque(given, config, model, IDS, IDS)
            assert found.keys() == expected.keys()
            assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    with pytest.raises(UsageError, match=r"(shared|embed_tokens)\.weight"):
        to_calque({name: bare[name] for name in bare if name not in tables}, config, model, IDS, IDS)


def test_half_precision_is_read_as_fp32_and_no_bias_is_infinite() -> None:
    model, config, weights = exported({})
    weights["final_logits_bias"][0, 5] = float("-inf")
    halves = {name: tensor.to(torch.bfloat16) for name, tensor in weights.items()}
    found = to_calque(halves, config, model, IDS, IDS)
    assert {tensor.dtype for tensor in found.values()} == {torch.float32}
    assert found["head.projection.bias"].tolist() == [0.0] * 5 + [SILENCED] + [0.0] * 3


@pytest.mark.parametrize("options", [{}, LEARNED, T5_PART], ids=["pegasus", "bart", "t5"])
def test_each_missing_or_misshapen_tensor_is_named(options: dict[str, Any]) -> None:
    model, config, weights = exported(options)
    optional = [*TABLES, "final_logits_bias"]
    # Sinusoids need no file.
    optional += ["embed_positions.weight"] if model.encoder.positions.kind == "sinusoidal" else []
    needed = [name for name in weights if not name.endswith(tuple(optional))]
    # Of the encoder's layers and the decoder's one will do.
    for name in (name for name in needed if "encoder.layers.0" not in name and "encoder.block.1" not in name):
        short = name.removeprefix("model.")
        with pytest.raises(UsageError, match=f"no {short}"):
            to_calque({key: tensor for key, tensor in weights.items() if key != name}, config, model, IDS, IDS)
        with pytest.raises(UsageError, match=f"{short} has the shape "):
            to_calque(weights | {name: weights[name][:-1]}, config, model, IDS, IDS)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"lm_head.bias": torch.zeros(SIZE)}, "lm_head.bias"),
        ({"final_logits_bias": torch.zeros(1, SIZE + 1)}, "final_logits_bias"),
        (
            {"model.encoder.embed_positions.weight": torch.zeros(5, 8)},
            "embed_positions.weight does not contain sinusoids",
        ),
        ({"model.shared.weight": torch.zeros(SIZE), "model.encoder.embed_tokens.weight": torch.zeros(3)}, "dimensions"),
        ({"encoder.layer_norm.weight": torch.zeros(8)}, "with and without its prefix"),
        ({"model.encoder.layer_norm.weight": torch.zeros(8, dtype=torch.int8)}, "torch.int8"),
        ({"lm_head.weight": torch.zeros(SIZE, 8)}, "model.tie_embeddings is all.*lm_head.weight"),
        ({"model.decoder.embed_tokens.weight": torch.zeros(SIZE, 8)}, "model.tie_embeddings"),
    ],
)
def test_weights_that_are_refused(change: dict[str, Tensor], named: str) -> None:
    model, config, weights = exported({})
    with pytest.raises(UsageError, match=named):
        to_calque(weights | change, config, model, IDS, IDS)


def test_a_table_of_another_width_or_fewer_rows_is_refused() -> None:
    model, config, weights = exported({})
    wide = {name: torch.zeros(SIZE, 6) if name.endswith(TABLES) else tensor for name, tensor in weights.items()}
    with pytest.raises(UsageError, match=r"6 wide.* 8"):
        to_calque(wide, config, model, IDS, IDS)
    with pytest.raises(UsageError, match=f"id {SIZE}, the weights have {SIZE} rows"):
        to_calque(weights, config, model, [*IDS, SIZE], [*IDS, SIZE])


def test_what_a_class_does_not_read_is_let_be() -> None:
    """T5's first files have a table that its class ignores too."""
    model, config, weights = exported(T5_PART)
    extra = {"decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight": torch.ones(32, 2)}
    assert (
        to_calque(weights | extra, config, model, IDS, IDS).keys() == to_calque(weights, config, model, IDS, IDS).keys()
    )


def test_of_ids_that_are_one_there_one_counts() -> None:
    assert [PAD, UNK, BOS, EOS] == [0, 1, 2, 3]
    assert is_silenced([7, 8, 9, 1, 2, -1]) == [False, False, False, False, False, True]
    # Any token before or after <s> replaces it.
    assert is_silenced([7, 8, 7, 1, 2]) == [False, False, True, False, False]
    assert is_silenced([7, 8, 1, 1, 2]) == [False, False, True, False, False]
    assert is_silenced([7, 7, 9, 1, 9, -1, -1]) == [False, True, True, False, False, True, True]


def test_rows_there_and_back() -> None:
    table = torch.randn(6, 3)
    ids = [4, 0, 4, 2, -1, 5]
    rows = fetched(table, ids, "table")
    assert torch.equal(rows[[0, 1, 2, 3, 5]], table[[4, 0, 4, 2, 5]])
    assert not rows[4].any()
    back = placed(rows, ids, 6)
    assert torch.equal(back[[0, 2, 4, 5]], table[[0, 2, 4, 5]])
    assert not back[[1, 3]].any()
    rows[2] += 1
    with pytest.raises(UsageError, match="id 0 shares the row 4"):
        placed(rows, ids, 6)


def test_one_table_for_two_vocabularies() -> None:
    source, target = torch.randn(5, 3), torch.randn(4, 3)
    assert torch.equal(placed_on_both(source, [4, 5, 6, 7, 8], target, [0, 1, 2, 3], 9), torch.cat([target, source]))
    # The source's own <pad> and <s>, which nothing reads, give way.
    table = placed_on_both(source, [0, 5, 2, 7, 8], target, [0, 1, 2, 3], 9)
    assert torch.equal(table[:4], target)
    with pytest.raises(UsageError, match="shares the row 1"):
        placed_on_both(source, [0, 1, 2, 7, 8], target, [0, 1, 2, 3], 9)


@pytest.mark.parametrize("options", [T5_PART, {"positions": {"kind": "sinusoidal", "closed": True, "first": 1}}])
def test_a_class_without_a_bias_takes_no_model_that_learned_one(options: dict[str, Any]) -> None:
    model = section(options, tie_embeddings="all")
    config = huggingface_config(model, SIZE, SIZE)
    state = {name: parameter.detach() for name, parameter in build(model, SIZE, SIZE).named_parameters()}
    assert "final_logits_bias" not in to_huggingface(state, model, config, IDS, IDS)
    state["head.projection.bias"][5] = 0.5
    with pytest.raises(UsageError, match=r"model\.head\.learned_bias.*1 of 9"):
        to_huggingface(state, model, config, IDS, IDS)
    state["head.projection.bias"][5] = 0
    # A row that no id of calque's has would count in their softmax.
    with pytest.raises(UsageError, match=r"model\.head\.learned_bias.*1 of 10"):
        to_huggingface(state, model, config | {"vocab_size": SIZE + 1}, IDS, IDS)


def test_a_bias_that_is_not_learned_stays() -> None:
    """Silenced ids stay silent through training, and weigh little where label smoothing averages."""
    model = section({}, tie_embeddings="all", head={"kind": "softmax", "learned_bias": False})
    net = build(model, SIZE, SIZE)
    with torch.no_grad():
        net.head.projection.bias[BOS] = SILENCED
    assert [name for name, value in net.named_parameters() if not value.requires_grad] == ["head.projection.bias"]
    log_probs = net.head.projection(torch.randn(4, 8)).log_softmax(-1)
    losses = smoothed_likelihood(log_probs, torch.tensor([3, 4, 5, 6]), 0.1, SIZE)
    losses.sum().backward()
    assert net.head.projection.bias.grad is None
    assert torch.isfinite(losses).all()
    assert (log_probs[:, BOS].exp() == 0).all()
