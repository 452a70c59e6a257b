"""Export to CTranslate2: what it does not have is named by its field; names of tokens; records of what it finds."""

import sys
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from random_models import narrow, words, write_random

from calque.config import Config
from calque.engines.ctranslate2 import spec as ctranslate2_spec
from calque.engines.ctranslate2.engine import Hypothesis, packed, replaced
from calque.engines.ctranslate2.spec import DECODER_POSITIONS, FUNCTIONS, can_take, numbered
from calque.errors import UsageError
from calque.exchange.ctranslate2.files import export_ctranslate2, require_expressible
from calque.exchange.ctranslate2.names import CUTTING, token_names
from calque.ids import SPECIALS
from calque.model import ModelConfig
from calque.nn.norms import Norm
from calque.nn.transformer.encoder_decoder import TransformerDecoderConfig, TransformerEncoderConfig
from calque.nn.transformer.feed_forward import ACTIVATIONS
from calque.nn.transformer.positions import PositionsConfig
from calque.search.options import SearchConfig
from calque.text.tokenizers.kinds import Kind
from calque.text.tokenizers.subword import SentencePieceConfig, train_sentencepiece
from calque.text.tokenizers.symbols import ByteTokenizer, Vocabulary, WordTokenizer
from calque.text.tokenizers.tags import TaggedTokenizer
from calque.text.tokenizers.token_table import Origin, Token, TokenTable


def test_where_ctranslate2_is_missing_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = write_random(tmp_path / "model", narrow("transformer"))
    ctranslate2_spec.library.cache_clear()
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    with pytest.raises(UsageError, match="pip install ctranslate2"):
        export_ctranslate2(folder, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    ctranslate2_spec.library.cache_clear()


def test_a_folder_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    folder = write_random(tmp_path / "model", narrow("transformer"))
    with pytest.raises(UsageError, match="already exists"):
        export_ctranslate2(folder, folder)
    with pytest.raises(UsageError, match="no model folder"):
        export_ctranslate2(tmp_path / "none", tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "changes", "field"),
    [
        ("gru", {}, "model.encoder.kind is gru"),
        ("hybrid", {}, "model.decoder.kind is lstm"),
        ("pointer", {}, "model.encoder.kind is lstm"),
        ("graph", {}, "model.encoder.kind is "),
        ("fast", {}, "model.decoder.mixer.kind is ssru"),
        ("transformer", {"decoder": {"mixer": {"kind": "average"}}}, "model.decoder.mixer.kind is average"),
        ("transformer", {"head": {"kind": "pointer"}}, "model.head.kind is pointer"),
        ("transformer", {"encoder": {"positions": {"kind": "alibi"}}}, "model.encoder.positions.kind is alibi"),
        ("transformer", {"decoder": {"norm_epsilon": 1e-3}}, "model.decoder.norm_epsilon is 0.001"),
    ],
)
def test_what_it_does_not_have_is_named_by_its_field(name: str, changes: dict[str, Any], field: str) -> None:
    section = narrow(name)
    for part, values in changes.items():
        section[part] = section.get(part, {}) | values
    config = ModelConfig.model_validate(section)
    with pytest.raises(UsageError, match=f"^{field}.*, which export to CTranslate2 does not support"):
        require_expressible(config)
    reason = can_take(config)
    assert reason is not None
    assert reason.startswith(field)


def test_a_transformer_as_the_catalog_has_it_is_taken() -> None:
    config = ModelConfig.model_validate(narrow("transformer"))
    require_expressible(config)
    assert can_take(config) is None


TRANSFORMER = {
    *("kind", "layers", "width", "dropout"),
    *("heads", "key_value_heads", "head_width", "feed_forward", "activation", "positions", "norm", "norm_position"),
    *("norm_epsilon", "norm_embeddings", "scale_embeddings", "bias"),
    *("attention_dropout", "activation_dropout", "layer_drop"),
}
SEARCH = {
    *("beam", "n_best", "max_length_ratio", "max_length_extra", "min_length", "length_penalty", "normalisation"),
    *("no_repeat_ngram", "unknown"),
}


@pytest.mark.parametrize(
    ("config", "fields"),
    [
        (TransformerEncoderConfig, TRANSFORMER),
        (TransformerDecoderConfig, TRANSFORMER | {"mixer", "coverage_loss"}),
        (SearchConfig, SEARCH),
        (ModelConfig, {"encoder", "decoder", "head", "tie_embeddings"}),
    ],
)
def test_there_is_no_field_that_it_does_not_know(config: type[Config], fields: set[str]) -> None:
    """A new field fails here: write it for CTranslate2 and follow it in the engine, or refuse it, and list it."""
    assert config.model_fields.keys() == fields


def test_there_is_no_kind_that_it_does_not_know() -> None:
    assert FUNCTIONS.keys() == ACTIVATIONS.keys()
    assert set(get_args(Norm)) == {"layer", "rms"}
    assert {member.model_fields["kind"].default for member in get_args(get_args(PositionsConfig)[0])} == set(
        DECODER_POSITIONS
    )
    assert CUTTING.keys() == set(get_args(Kind))


def test_names_of_tokens_are_one_for_each_id() -> None:
    forms = ["a", "</s>", "b", "<unk>", "c#7", ""]
    origin = Origin(family="marian")
    table = TokenTable(origin, tuple(Token(number, form, False) for number, form in enumerate([*SPECIALS, *forms, ""])))

    class Imported:
        def __init__(self) -> None:
            self.table = table

    for tokenizer in (
        words().source,
        WordTokenizer(Vocabulary(["a", "</s>", "b", "</s>#5", "[de]"])),
        TaggedTokenizer(WordTokenizer(Vocabulary(["a", "[de]"])), ["de", "fr"]),
        ByteTokenizer(),
        train_sentencepiece(SentencePieceConfig(vocab_size=300), ["ein Haus, ein Garten", "eine Katze"] * 3),
        Imported(),
    ):
        names = token_names(tokenizer)  # type: ignore[arg-type]
        size = len(table) if isinstance(tokenizer, Imported) else tokenizer.vocab_size
        assert len(set(names)) == len(names) == size
        assert all(names)
        assert tuple(names[:4]) == SPECIALS
    assert len(set(numbered(30))) == 30


def test_names_are_how_the_tokenizer_writes_its_tokens() -> None:
    tokenizer = train_sentencepiece(SentencePieceConfig(vocab_size=300), ["ein Haus, ein Garten", "eine Katze"] * 3)
    names = token_names(tokenizer)
    assert [names[number] for number in tokenizer.encode("ein Hund")] == tokenizer.forms("ein Hund")
    tagged = TaggedTokenizer(words().source, ["de"])
    assert token_names(tagged)[-2:] == ["s18", "[de]"]


def test_outputs_are_packed_as_search_gives_them() -> None:
    options = SearchConfig(beam=2, n_best=2, length_penalty=1.0)
    best = [[Hypothesis([5, 6], -3.0, True), Hypothesis([], -2.0, True)], [Hypothesis([7], -1.0, True)]]
    record = packed(best, options, torch.device("cpu"))
    assert record.tokens.tolist() == [[[5, 6], [0, 0]], [[7, 0], [0, 0]]]
    assert record.lengths.tolist() == [[2, 0], [1, 0]]
    assert record.scores.tolist() == [[-1.0, -2.0], [-0.5, float("-inf")]]
    assert record.log_probs.tolist() == [[-3.0, -2.0], [-1.0, float("-inf")]]
    longer = packed([[Hypothesis([8, 9, 4], -4.0, True), Hypothesis([8], -5.0, True)]], options, torch.device("cpu"))
    both = replaced(record, torch.tensor([1]), longer)
    assert both.tokens.tolist() == [[[5, 6, 0], [0, 0, 0]], [[8, 9, 4], [8, 0, 0]]]
    assert both.scores.tolist() == [[-1.0, -2.0], [-1.0, -2.5]]
    assert replaced(longer, torch.tensor([0]), packed(best[1:], options, torch.device("cpu"))).lengths.tolist() == [
        [1, 0]
    ]
