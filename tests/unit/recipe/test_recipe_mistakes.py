"""What a wrong recipe is answered with: path, what must hold, what is, the nearest known name."""

import pytest

from calque.config import help_of
from calque.errors import UsageError
from calque.recipe.layers import fields, matching_fields, merge, read_settings, spread_text, validate, validate_section
from calque.recipe.tree import Recipe
from calque.search.options import SearchConfig


def mistake(*settings: str) -> str:
    """Return the message that some settings over the defaults are answered with."""
    with pytest.raises(UsageError) as caught:
        validate(merge(Recipe().model_dump(), spread_text(read_settings(settings))))
    return str(caught.value)


@pytest.mark.parametrize(
    ("setting", "path", "near"),
    [
        ("trian.lr=1", "trian", "train"),
        ("train.label_smothing=0.2", "train.label_smothing", "label_smoothing"),
        ("train.optimizer.epsilom=0.9", "train.optimizer.epsilom", "epsilon"),
        ("model.encoder.layer=3", "model.encoder.layer", "layers"),
        ("model.decoder.feedforward=3", "model.decoder.feedforward", "feed_forward"),
        ("search.bean=3", "search.bean", "beam"),
        ("search.BEAM=3", "search.BEAM", "beam"),
        ("train.VALIDATE_EVRY=3", "train.VALIDATE_EVRY", "validate_every"),
        ("text.source.vocabsize=300", "text.source.vocabsize", "vocab_size"),
        ("text.joynt=true", "text.source.joynt", ""),
        ("data.columns.sorce=x", "data.columns.sorce", "source"),
        ("task.metric=bleu", "task.metric", "metrics"),
    ],
)
def test_an_unknown_key_names_its_path_and_the_nearest(setting: str, path: str, near: str) -> None:
    message = mistake(setting)
    assert f"{path}: " in message
    assert not near or f'Did you mean "{near}"?' in message


OTHER_KINDS = [
    ("train.optimizer.weight_decay=0.1", "train.optimizer.kind = adamw", "adam"),
    ("model.encoder.bidirectional=true", "model.encoder.kind = rnn or lstm or gru", "transformer"),
    ("model.decoder.positions.limit=9", "model.decoder.positions.kind = learned", "sinusoidal"),
    ("text.layout.n=3", "text.layout.kind = ngrams", "line"),
    ("text.source.min_count=3", "text.source.kind = word", "sentencepiece"),
    ("model.encoder.paths=2", "model.encoder.kind = graph_transformer", "transformer"),
]


@pytest.mark.parametrize(("setting", "has", "kind"), OTHER_KINDS)
def test_a_field_of_another_kind_names_that_kind(setting: str, has: str, kind: str) -> None:
    message = mistake(setting)
    assert setting.partition("=")[0] in message
    assert has in message
    assert f"the kind is {kind};" in message


def test_below_a_changed_kind_the_nearest_is_one_of_that_kind() -> None:
    message = mistake("model.decoder.kind=lstm", "model.decoder.input_fed=true")
    assert 'model.decoder.input_fed: model.decoder has no such key. Did you mean "input_feeding"?' in message
    message = mistake(
        "model.decoder.kind=lstm", "model.decoder.attention.kind=additive", "model.decoder.attention.widht=4"
    )
    assert 'model.decoder.attention.widht: model.decoder.attention has no such key. Did you mean "width"?' in message
    assert len(message.splitlines()) == 1


def test_far_from_all_keys_the_known_ones_are_listed() -> None:
    message = mistake("model.head.qqqq=1")
    assert "model.head.qqqq" in message
    assert "kind" in message


@pytest.mark.parametrize(
    ("setting", "path", "value"),
    [
        ("train.lr=fast", "train.lr", "'fast'"),
        ("train.seed=1.5", "train.seed", "1.5"),
        ("train.lr=0", "train.lr", "0"),
        ("train.lr=nan", "train.lr", "nan"),
        ("train.label_smoothing=1", "train.label_smoothing", "1"),
        ("train.schedule=linear", "train.schedule", "'linear'"),
        ("model.encoder.layers=two", "model.encoder.layers", "'two'"),
        ("model.tie_embeddings=both", "model.tie_embeddings", "'both'"),
        ("search.beam=0", "search.beam", "0"),
        ("text.target.vocab_size=many", "text.target.vocab_size", "'many'"),
        ("train=3", "train", "3"),
        ("model.encoder=lstm", "model.encoder", "'lstm'"),
        ("format=2", "format", "2"),
    ],
)
def test_a_wrong_value_names_its_path_and_itself(setting: str, path: str, value: str) -> None:
    message = mistake(setting)
    assert f"{path}: " in message
    assert f"(it is {value})" in message


@pytest.mark.parametrize(
    ("settings", "path", "kinds", "near"),
    [
        (["model.encoder.kind=tranformer"], "model.encoder.kind", ["rnn", "lstm", "gru", "transformer"], "transformer"),
        (["model.decoder.kind=ltsm"], "model.decoder.kind", ["rnn", "lstm", "gru", "transformer"], "lstm"),
        (
            ["model.decoder.kind=lstm", "model.decoder.attention.kind=genral"],
            "model.decoder.attention.kind",
            ["none", "dot", "general", "additive"],
            "general",
        ),
        (["train.optimizer.kind=adanw"], "train.optimizer.kind", ["adam", "adamw"], "adamw"),
        (["text.source.kind=char"], "text.source.kind", ["sentencepiece", "word", "character", "byte"], "character"),
    ],
)
def test_an_unknown_kind_lists_the_kinds(settings: list[str], path: str, kinds: list[str], near: str) -> None:
    message = mistake(*settings)
    assert f"{path}: " in message
    for kind in kinds:
        assert kind in message.partition("there are")[2]
    assert f'Did you mean "{near}"?' in message
    assert len(message.splitlines()) == 1


def test_a_rule_between_fields_names_its_section() -> None:
    message = mistake("search.n_best=9")
    assert "search: n_best must be at most beam" in message
    message = mistake("text.joint=true", "text.source.vocab_size=700")
    assert "text: joint = true" in message
    assert "vocab_size (700 and" in message


def test_several_mistakes_are_told_at_once_and_never_fill_the_screen() -> None:
    message = mistake("train.lr=x", "train.seed=x", "search.beam=x", "search.bean=1", "data.max_length=x")
    assert "train.lr" in message
    assert "train.seed" in message
    assert "and 2 more" in message
    assert len(message.splitlines()) <= 6


def test_a_long_value_is_cut_and_a_number_of_thousands_of_digits_is_described() -> None:
    assert len(mistake(f"train.lr={'fast' * 500}")) < 200
    with pytest.raises(UsageError, match=r"train\.seed: .*\(it is a very large number\)"):
        validate(merge(Recipe().model_dump(), {"train": {"seed": 10**5000}}))


def test_a_section_on_its_own() -> None:
    with pytest.raises(UsageError, match=r"^search\.beam: must be at least 1 \(it is 0\)"):
        validate_section(SearchConfig, {"beam": 0}, "search")
    assert validate_section(SearchConfig, {"beam": 3}, "search").beam == 3


def test_every_field_has_a_help_text_and_a_default() -> None:
    rows = list(fields())
    assert len(rows) > 60
    for key, default, text in rows:
        assert text.strip(), key
        assert "Undefined" not in default, key
    assert len({key for key, _, _ in rows}) == len(rows)


def test_every_section_has_a_help_text() -> None:
    def below(model) -> None:
        for name in model.model_fields:
            assert help_of(model).get(name), f"{model.__name__}.{name}"

    below(Recipe)
    for name in Recipe.model_fields.keys() - {"format"}:
        below(type(getattr(Recipe(), name)))


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("train.lr", {"train.lr"}),
        ("search", {f"search.{name}" for name in SearchConfig.model_fields}),
        ("train.optimizer.beta1", {"train.optimizer[adam].beta1", "train.optimizer[adamw].beta1"}),
    ],
)
def test_help_is_found_by_key(key: str, expected: set[str]) -> None:
    assert {row[0] for row in matching_fields(key)} == expected


def test_the_help_of_a_field_is_one_line_that_ends_with_a_period() -> None:
    """`calque recipe` prints the help indented below the field, and `--json` as one string."""
    wrong = {key: text for key, _, text in fields() if not text.endswith(".") or len(text.splitlines()) != 1}
    assert wrong == {}


def test_help_of_all_fields_and_of_one_unknown() -> None:
    assert matching_fields("") == list(fields())
    kinds = [default for _, default, _ in matching_fields("model.decoder.attention.kind")]
    assert set(kinds) >= {"'none'", "'dot'", "'general'", "'additive'"}
    assert len(set(kinds)) == len(kinds)
    with pytest.raises(UsageError, match=r"no 'train\.lrr'.*Did you mean \"train\.lr\""):
        matching_fields("train.lrr")
