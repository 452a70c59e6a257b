"""Layers of a recipe: how they merge, and how --set and a file are read."""

import copy
from pathlib import Path

import pytest

from calque.errors import UsageError
from calque.recipe.layers import flatten, merge, read_file, read_settings, spread_text, validate
from calque.recipe.tree import Recipe

BASE = Recipe().model_dump()


def laid_over(*settings: str) -> Recipe:
    """Return the recipe of some settings over the defaults, as a run has it."""
    return validate(merge(BASE, spread_text(read_settings(settings))))


def test_another_kind_drops_the_fields_that_it_does_not_have() -> None:
    merged = merge(BASE, {"model": {"encoder": {"kind": "gru", "layers": 3}}})["model"]["encoder"]
    assert merged["kind"] == "gru"
    assert merged["layers"] == 3
    assert "heads" in BASE["model"]["encoder"]
    assert "heads" not in merged
    # What both kinds have stays as it was set.
    assert merged["width"] == BASE["model"]["encoder"]["width"]


@pytest.mark.parametrize(
    ("settings", "key", "kind"),
    [
        (["model.encoder.kind=lstm", "model.decoder.kind=rnn"], "model.decoder", "rnn"),
        (["train.optimizer.kind=adamw"], "train.optimizer", "adamw"),
        (["text.source.kind=byte"], "text.source", "byte"),
        (["model.decoder.kind=lstm", "model.decoder.attention.kind=additive"], "model.decoder.attention", "additive"),
    ],
)
def test_a_change_of_kind_gives_a_valid_recipe(settings: list[str], key: str, kind: str) -> None:
    assert flatten(laid_over(*settings).model_dump())[f"{key}.kind"] == kind


def test_kinds_change_there_and_back_at_every_depth() -> None:
    first = laid_over(
        "model.decoder.kind=lstm", "model.decoder.attention.kind=additive", "model.decoder.attention.width=9"
    )
    second = validate(merge(first.model_dump(), read_settings(["model.decoder.attention.kind=dot"])))
    attention = second.model_dump()["model"]["decoder"]["attention"]
    assert attention["kind"] == "dot"
    assert "width" not in attention
    third = validate(merge(second.model_dump(), read_settings(["model.decoder.kind=transformer"])))
    assert third.model.decoder.kind == "transformer"
    weighty = laid_over("train.optimizer.kind=adamw", "train.optimizer.weight_decay=0.3", "train.optimizer.beta1=0.8")
    light = validate(merge(weighty.model_dump(), read_settings(["train.optimizer.kind=adam"])))
    assert light.train.optimizer.model_dump() == BASE["train"]["optimizer"] | {"beta1": 0.8}


def test_cells_of_one_family_keep_all_their_fields() -> None:
    lstm = laid_over("model.encoder.kind=lstm", "model.encoder.bidirectional=false", "model.encoder.dropout=0.4")
    gru = validate(merge(lstm.model_dump(), read_settings(["model.encoder.kind=gru"])))
    assert gru.model.encoder.model_dump() == lstm.model.encoder.model_dump() | {"kind": "gru"}


def test_merging_changes_neither_layer() -> None:
    base, layer = copy.deepcopy(BASE), read_settings(["model.encoder.kind=lstm", "train.lr=0.1"])
    before = copy.deepcopy(layer)
    merged = merge(base, layer)
    merged["train"]["lr"] = 5
    assert base == BASE
    assert layer == before


def test_the_last_layer_wins_and_others_stay() -> None:
    merged = merge(merge(BASE, {"train": {"lr": 0.1, "seed": 5}}), {"train": {"lr": 0.2}})
    assert (merged["train"]["lr"], merged["train"]["seed"]) == (0.2, 5)
    assert merged["train"]["warmup"] == BASE["train"]["warmup"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("0.001", 0.001),
        ("3e-4", 3e-4),
        ("true", True),
        ('"3"', "3"),
        ('["bleu", "exact"]', ["bleu", "exact"]),
        ("cosine", "cosine"),
        ("20m", "20m"),
        ("no", "no"),
        ("True", "True"),
        ("", ""),
        ("dir/file=2.tsv", "dir/file=2.tsv"),
        ("C:\\pairs.tsv", "C:\\pairs.tsv"),
        ("文件.tsv", "文件.tsv"),
    ],
)
def test_a_setting_is_toml_or_else_a_string(text: str, value: object) -> None:
    found = read_settings([f"data.valid={text}"])["data"]["valid"]
    assert found == value
    assert type(found) is type(value)


def test_settings_join_in_one_layer_and_the_later_wins() -> None:
    layer = read_settings(["train.lr=1", " train.seed =2", "search.beam=3", "train.lr=4"])
    assert layer == {"train": {"lr": 4, "seed": 2}, "search": {"beam": 3}}


@pytest.mark.parametrize("setting", ["train.lr", "", "=3", " =3"])
def test_a_setting_without_key_or_value_shows_the_form(setting: str) -> None:
    with pytest.raises(UsageError, match="KEY=VALUE"):
        read_settings([setting])


def test_a_value_cannot_have_keys_below_it() -> None:
    with pytest.raises(UsageError, match=r"--set train\.lr=2.*train was already set to a value"):
        read_settings(["train=1", "train.lr=2"])


def test_a_files_layer(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text('[train]\nlr = 3e-4\n[model.encoder]\nkind = "gru"\n', encoding="utf-8")
    assert read_file(str(path)) == {"train": {"lr": 3e-4}, "model": {"encoder": {"kind": "gru"}}}


@pytest.mark.parametrize("content", [b"train = {", b"[train]\nlr = fast\n", b"[train]\n\xff\xfe\n", b"a = 1\na = 2\n"])
def test_what_is_no_toml_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "recipe.toml"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"recipe\.toml is not valid TOML: "):
        read_file(str(path))


@pytest.mark.parametrize("name", ["missing.toml", "."])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="--config") as caught:
        read_file(str(tmp_path / name))
    assert str(tmp_path / name) in str(caught.value)


def test_a_key_of_tokenizers_is_meant_for_both_sides() -> None:
    recipe = laid_over("text.vocab_size=123", "text.joint=false", "text.source.vocab_size=77", "text.normalise=nfkc")
    assert (recipe.text.source.vocab_size, recipe.text.target.vocab_size) == (77, 123)
    assert recipe.text.normalise == "nfkc"
    other = laid_over("text.kind=word", "text.min_count=2", "text.source.min_count=3")
    assert (other.text.source.kind, other.text.source.min_count, other.text.target.min_count) == ("word", 3, 2)
    with pytest.raises(UsageError, match=r"text\.target\.min_countt"):
        laid_over("text.kind=word", "text.min_countt=2")


def test_spreading_leaves_other_layers_alone() -> None:
    for layer in ({}, {"train": {"lr": 1}}, {"text": "word"}, {"text": {"joint": True}}):
        assert spread_text(copy.deepcopy(layer)) == layer


def test_flatten_names_every_leaf() -> None:
    assert flatten({"a": {"b": 1, "c": {"d": 2}}, "e": {}, "f": None}) == {"a.b": 1, "a.c.d": 2, "e": {}, "f": None}
