"""CTranslate2: the same log-probabilities, outputs and limits as calque's own search, by its library.

Models with random weights show every option that its format takes, several in each.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from random_models import GREEDY, redrawn, sentences, step_log_probs
from torch import Tensor

from calque.data.collate import collate_pairs, collate_sources
from calque.engines.ctranslate2.engine import CTranslate2, Setting
from calque.engines.ctranslate2.folder import load
from calque.engines.ctranslate2.spec import can_take, numbered, write_model
from calque.engines.eager import Eager
from calque.engines.engine import Engine
from calque.ids import BOS, EOS, PAD, UNK
from calque.model import ModelConfig, Seq2Seq
from calque.search.hypotheses import Hypotheses
from calque.search.options import SearchConfig
from calque.search.scorer import Scorer
from calque.text.source import plain_sources

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ctranslate2")]

WIDTH, SOURCE_SIZE, TARGET_SIZE, NUM_SENTENCES = 12, 23, 23, 100
NOTHING_FORCED = torch.zeros(NUM_SENTENCES, 0, dtype=torch.int64)


def side(layers: int = 2, **options: Any) -> dict[str, Any]:
    return {"kind": "transformer", "layers": layers, "width": WIDTH, "heads": 3, "feed_forward": 20, **options}


def model(encoder: dict[str, Any], decoder: dict[str, Any], tie: str = "none") -> dict[str, Any]:
    return {"encoder": encoder, "decoder": decoder, "tie_embeddings": tie}


GROUPED = {"heads": 6, "key_value_heads": 2, "head_width": 4}
ONE_SET = {"heads": 3, "key_value_heads": 1}
ROTARY = {"positions": {"kind": "rotary"}}
LLAMA = {"norm": "rms", "activation": "swiglu", "bias": False, **ROTARY}
T5 = {
    "positions": {"kind": "relative", "buckets": 6, "distance": 5},
    "norm": "rms",
    "bias": False,
    "scale_embeddings": False,
    "head_width": 6,
}
BART = {
    "positions": {"kind": "learned", "limit": 20},
    "norm_position": "post",
    "norm_embeddings": True,
    "scale_embeddings": False,
    "activation": "gelu",
}
MODELS = {
    "calque's own": model(side(), side(), "all"),
    "own tables": model(side(), side()),
    "target tables": model(side(1), side(3), "target"),
    "post-norm": model(side(norm_position="post"), side(norm_position="post", activation="silu")),
    "a norm before and a norm after": model(side(norm_position="post"), side(norm_epsilon=1e-5)),
    "bart": model(side(**BART), side(**BART), "all"),
    "t5": model(side(**T5), side(**T5, activation="geglu_tanh"), "target"),
    "rotary": model(side(**ROTARY), side(positions={"kind": "rotary", "base": 50.0})),
    "rotary in groups": model(side(**GROUPED, **LLAMA), side(**GROUPED, **LLAMA), "all"),
    "rotary, one set": model(side(**ONE_SET, **ROTARY), side(**ONE_SET, **ROTARY)),
    "groups of heads": model(side(**GROUPED, norm_position="post"), side(**GROUPED)),
    "one set": model(side(**ONE_SET, activation="gelu_tanh"), side(**ONE_SET, activation="geglu")),
    "alibi": model(side(positions={"kind": "none"}, bias=False), side(positions={"kind": "alibi"}, heads=6)),
    "wide to narrow": model(side(width=18), side(positions={"kind": "sinusoidal", "first": 2, "closed": True})),
    "large epsilon": model(side(norm_epsilon=0.3), side(norm_epsilon=0.3, norm="rms")),
}


@dataclass
class Counted(Engine):
    """Count the sentences that another engine is left with."""

    engine: Engine
    rows: int = 0
    options: list[SearchConfig] = field(default_factory=list)

    def scorer(self) -> Scorer:
        return self.engine.scorer()

    def __call__(
        self, source: Any, lengths: Tensor, prefixes: Tensor, options: SearchConfig, *others: Any, **named: Any
    ) -> Hypotheses:
        self.rows += len(lengths)
        self.options.append(options)
        return self.engine(source, lengths, prefixes, options, *others, **named)


@cache
def built(name: str, ending: float = 0.0) -> tuple[Seq2Seq, CTranslate2]:
    """Return a model with random weights and its engine; `ending` makes </s> likelier."""
    config = ModelConfig.model_validate(MODELS[name])
    assert can_take(config) is None
    made = redrawn(config, SOURCE_SIZE, TARGET_SIZE)
    # None of these is ever produced, by however little of the probability.
    with torch.no_grad():
        made.head.projection.bias[[PAD, BOS]] -= 30
        made.head.projection.bias[EOS] += ending
    names = numbered(SOURCE_SIZE), numbered(TARGET_SIZE)
    with TemporaryDirectory() as folder:
        write_model(Path(folder), config, made.state_dict(), names)
        return made, load(Path(folder), made, config, names)


def asked(engine: Engine, options: SearchConfig, prefixes: Tensor = NOTHING_FORCED) -> Hypotheses:
    """Search the outputs of the same sentences."""
    source = collate_sources(plain_sources(sentences(NUM_SENTENCES, SOURCE_SIZE)))
    with torch.inference_mode():
        return engine(source, source.mask.sum(dim=1), prefixes, options)


def compared(
    name: str, options: SearchConfig, prefixes: Tensor = NOTHING_FORCED, ending: float = 1.5
) -> tuple[Hypotheses, Hypotheses, int]:
    """Return what calque's search and the engine find, and how many sentences the engine left to the former."""
    made, engine = built(name, ending)
    rest = Counted(Eager(made))
    expected = asked(Eager(made), options, prefixes)
    own = CTranslate2(engine.translator, (engine.source_names, engine.target_names), rest, engine.longest)
    return expected, asked(own, options, prefixes), rest.rows


def listed(hypotheses: Hypotheses) -> list[list[list[int]]]:
    """Return the tokens of each output of each sentence."""
    pairs_of = zip(hypotheses.tokens.tolist(), hypotheses.lengths.tolist(), strict=True)
    return [[tokens[:length] for tokens, length in zip(*pair, strict=True)] for pair in pairs_of]


def true_log_probs(made: Seq2Seq, outputs: Sequence[Sequence[int]]) -> Tensor:
    """Return the sums of the model's log-probabilities of outputs, </s> counted, by calque's own steps."""
    batch = collate_pairs(plain_sources(sentences(NUM_SENTENCES, SOURCE_SIZE)), outputs)
    scored = step_log_probs(made, batch).gather(2, batch.target.labels[:, :, None]).squeeze(2)
    return (scored * batch.target.mask).sum(dim=1)


@pytest.mark.parametrize("name", MODELS)
def test_forced_targets_have_the_same_log_probabilities(name: str) -> None:
    made, engine = built(name)
    sources, targets = sentences(30, SOURCE_SIZE), sentences(30, TARGET_SIZE, seed=4)
    batch = collate_pairs(plain_sources(sources), targets)
    expected = step_log_probs(made, batch).gather(2, batch.target.labels[:, :, None]).squeeze(2)
    named = [[engine.source_names[token] for token in [*row, EOS]] for row in sources]
    found = [torch.tensor(row) for row in engine.log_probs(named, targets)]
    for row, length in enumerate(batch.target.mask.sum(dim=1).tolist()):
        torch.testing.assert_close(found[row], expected[row, :length], rtol=1e-4, atol=1e-4)
    assert expected[batch.target.mask].std() > 1


def raw(engine: CTranslate2, beam: int, longest: int) -> list[list[tuple[list[int], float]]]:
    """Return what the library itself finds: tokens with the sums of their log-probabilities."""
    rows = [[engine.source_names[token] for token in [*row, EOS]] for row in sentences(NUM_SENTENCES, SOURCE_SIZE)]
    results = engine.translator.translate_batch(
        rows,
        beam_size=beam,
        num_hypotheses=beam,
        length_penalty=1,
        max_decoding_length=longest,
        min_decoding_length=0,
        return_end_token=True,
        return_scores=True,
    )
    return [
        [
            ([engine.ids[name] for name in names], score * len(names))
            for names, score in zip(result.hypotheses, result.scores, strict=True)
        ]
        for result in results
    ]


@pytest.mark.parametrize("name", MODELS)
def test_step_by_step_it_chooses_the_same_tokens(name: str) -> None:
    """The library's own greedy search, with its caches, as far as both go."""
    made, engine = built(name)
    options = GREEDY.model_copy(update={"max_length_ratio": 0.0, "max_length_extra": 9})
    expected = [tokens for (tokens,) in listed(asked(Eager(made), options))]
    found = [[token for token in tokens if token != EOS] for ((tokens, _),) in raw(engine, 1, 9)]
    assert found == expected
    assert len({tuple(tokens) for tokens in found}) > 1


@pytest.mark.parametrize("name", MODELS)
def test_beams_are_scored_as_the_model_scores_them(name: str) -> None:
    """Whatever hypotheses beam search moves about, the sum of each is the model's own."""
    made, engine = built(name)
    found = raw(engine, 4, 9)
    for rank in range(4):
        ended = [row[rank] if row[rank][0][-1:] == [EOS] else ([EOS], None) for row in found]
        kept = torch.tensor([score is not None for _, score in ended])
        expected = true_log_probs(made, [tokens[:-1] for tokens, _ in ended])
        sums = torch.tensor([score or 0.0 for _, score in ended])
        torch.testing.assert_close(sums[kept], expected[kept], rtol=1e-4, atol=1e-4)
    assert sum(tokens[-1:] == [EOS] for row in found for tokens, _ in row) > 8


@pytest.mark.parametrize("name", ["own tables", "rotary", "groups of heads"])
def test_greedy_search_ends_as_calques(name: str) -> None:
    expected, found, left = compared(name, GREEDY)
    assert listed(found) == listed(expected)
    torch.testing.assert_close(found.scores, expected.scores, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.log_probs, expected.log_probs, rtol=1e-4, atol=1e-4)
    assert len({tuple(row[0]) for row in listed(found)}) > 5
    assert left < NUM_SENTENCES / 2


@pytest.mark.parametrize(("alpha", "share"), [(0.0, 0.95), (1.0, 0.6)])
def test_beam_search_finds_the_same_but_for_where_it_stops(alpha: float, share: float) -> None:
    """Random weights, whose scores grow with length, show the two rules at their furthest apart."""
    options = GREEDY.model_copy(update={"beam": 4, "n_best": 2, "length_penalty": alpha, "max_length_extra": 12})
    expected, found, left = compared("own tables", options, ending=2.0)
    same = [one == other for one, other in zip(listed(found), listed(expected), strict=True)]
    assert sum(same) >= share * NUM_SENTENCES
    torch.testing.assert_close(found.scores[same], expected.scores[same], rtol=1e-4, atol=1e-4)
    assert left < NUM_SENTENCES / 2
    made = built("own tables", 2.0)[0]
    for rank in range(2):
        outputs = [row[rank] for row in listed(found)]
        torch.testing.assert_close(found.log_probs[:, rank], true_log_probs(made, outputs), rtol=1e-4, atol=1e-4)


WISHES = {
    "shortest": {"min_length": 6},
    "no repeated pair": {"no_repeat_ngram": 2},
    "nothing unknown": {"unknown": False},
    "all": {"min_length": 4, "no_repeat_ngram": 1, "unknown": False},
}


@pytest.mark.parametrize("beam", [1, 4])
@pytest.mark.parametrize("wishes", WISHES.values(), ids=WISHES)
def test_wishes_hold_and_the_scores_stay_the_models(wishes: dict[str, Any], beam: int) -> None:
    options = GREEDY.model_copy(update={"beam": beam, "n_best": min(beam, 3), "max_length_extra": 12, **wishes})
    expected, found, left = compared("own tables", options)
    made = built("own tables", 1.5)[0]
    free = asked(Eager(made), options.model_copy(update=dict.fromkeys(wishes, 0) | {"unknown": True}))
    assert listed(free) != listed(found)
    assert left < NUM_SENTENCES / 2
    for rank in range(options.n_best):
        outputs = [row[rank] for row in listed(found)]
        torch.testing.assert_close(found.log_probs[:, rank], true_log_probs(made, outputs), rtol=1e-4, atol=1e-4)
        for output in outputs:
            assert len(output) >= options.min_length
            assert options.unknown or UNK not in output
            grams = list(zip(*(output[start:] for start in range(options.no_repeat_ngram)), strict=False))
            assert len(set(grams)) == len(grams)
    assert (found.scores.diff(dim=1) <= 0).all()
    if beam == 1:
        assert listed(found) == listed(expected)


@pytest.mark.parametrize(("beam", "share"), [(1, 1.0), (4, 0.7)])
def test_a_forced_beginning_is_there_and_counts(beam: int, share: float) -> None:
    prefixes = torch.tensor([[7, 5] if row % 2 else [9, PAD] for row in range(NUM_SENTENCES)])
    options = GREEDY.model_copy(update={"beam": beam, "max_length_extra": 12})
    expected, found, left = compared("own tables", options, prefixes, ending=2.0)
    outputs = [output for (output,) in listed(found)]
    for row, output in enumerate(outputs):
        assert output[: 1 + row % 2] == ([7, 5] if row % 2 else [9])
    torch.testing.assert_close(
        found.log_probs[:, 0], true_log_probs(built("own tables", 2.0)[0], outputs), rtol=1e-4, atol=1e-4
    )
    same = [one == other for one, other in zip(listed(found), listed(expected), strict=True)]
    assert sum(same) >= share * NUM_SENTENCES
    assert left < NUM_SENTENCES / 2


@pytest.mark.parametrize("normalisation", ["gnmt", "none"])
def test_other_normalisations_rank_as_calques(normalisation: str) -> None:
    options = GREEDY.model_copy(
        update={"beam": 4, "max_length_extra": 12, "normalisation": normalisation, "length_penalty": 0.6}
    )
    expected, found, left = compared("target tables", options)
    same = [one == other for one, other in zip(listed(found), listed(expected), strict=True)]
    assert sum(same) >= 0.95 * NUM_SENTENCES
    torch.testing.assert_close(found.scores[same], expected.scores[same], rtol=1e-4, atol=1e-4)
    assert left < NUM_SENTENCES / 2


def test_no_output_is_longer_than_its_own_sentence_allows() -> None:
    """In a batch each sentence has a limit of its own, at which it ends as in calque's search."""
    options = GREEDY.model_copy(update={"max_length_ratio": 0.5, "max_length_extra": 1})
    expected, found, left = compared("own tables", options)
    assert listed(found) == listed(expected)
    assert 0 < left < NUM_SENTENCES
    limits = [(len(row) + 1) // 2 + 1 for row in sentences(NUM_SENTENCES, SOURCE_SIZE)]
    assert any(len(output) == limit for (output,), limit in zip(listed(found), limits, strict=True))
    assert all(len(output) <= limit for (output,), limit in zip(listed(found), limits, strict=True))


def test_tokens_that_are_never_produced_are_not() -> None:
    config = ModelConfig.model_validate(MODELS["own tables"])
    made, names = redrawn(config, SOURCE_SIZE, TARGET_SIZE), (numbered(SOURCE_SIZE), numbered(TARGET_SIZE))
    with torch.no_grad():
        made.head.projection.bias[[PAD, BOS]] += 1
    with TemporaryDirectory() as folder:
        write_model(Path(folder), config, made.state_dict(), names)
        engine = load(Path(folder), made, config, names)
    found = asked(engine, GREEDY)
    assert listed(found) == listed(asked(Eager(made), GREEDY))
    plain = engine.translator.translate_batch([["5", "</s>"], ["9", "7", "</s>"]], beam_size=1)
    assert any({"<pad>", "<s>"} & set(result.hypotheses[0]) for result in plain)


def test_sources_that_are_empty_or_too_long_are_answered_by_calque_itself() -> None:
    made, engine = built("calque's own")
    rest = Counted(Eager(made))
    own = CTranslate2(engine.translator, (engine.source_names, engine.target_names), rest, engine.longest)
    rows = [[], [5, 6], [2], [7]]
    source = collate_sources(plain_sources(rows))
    lengths, prefixes = source.mask.sum(dim=1), torch.zeros(4, 0, dtype=torch.int64)
    found = own(source, lengths, prefixes, GREEDY)
    assert rest.rows >= 2
    assert listed(found) == listed(Eager(made)(source, lengths, prefixes, GREEDY))
    short = CTranslate2(engine.translator, (engine.source_names, engine.target_names), rest, (2, 2))
    rest.rows = 0
    assert listed(short(source, lengths, prefixes, GREEDY)) == listed(found)
    assert rest.rows == 4
    none = collate_sources(plain_sources([[5]]))
    empty = own(none, lengths[:0], prefixes[:0], GREEDY)
    assert empty.tokens.shape[0] == 0


def test_workers_share_a_batch_and_change_nothing() -> None:
    config = ModelConfig.model_validate(MODELS["calque's own"])
    made, engine = built("calque's own")
    names = engine.source_names, engine.target_names
    with TemporaryDirectory() as folder:
        write_model(Path(folder), config, made.state_dict(), names)
        several = load(Path(folder), made, config, names, Setting(workers=2))
    assert several.translator.num_translators == 2
    options = GREEDY.model_copy(update={"beam": 3, "max_length_extra": 12})
    assert listed(asked(several, options)) == listed(asked(engine, options))
