"""Engines give the outputs and scores of the model, for every combination of parts, beam and batch."""

from collections.abc import Callable, Generator
from typing import Any

import pytest
import torch
from covering import Axis, covering
from parts import AXES, PRODUCT, SAMPLE, Case, batch, model, sensible
from torch import Tensor

from calque import rows
from calque.engines.compiled.search import Compiled
from calque.engines.compiled.transformer import CompiledTransformer, Scratch
from calque.engines.compiled.transformer import why_not as why_not_compiled
from calque.engines.dense import bf16, laid_out, rounded, transposed
from calque.engines.eager import Eager
from calque.engines.engine import Engine
from calque.engines.fused import FusedTransformer
from calque.engines.fused import why_not as why_not_fused
from calque.model import Seq2Seq
from calque.search.hypotheses import Hypotheses
from calque.search.options import SearchConfig
from calque.search.processors import MinimumLength
from calque.search.scorer import Scorer
from calque.search.steps import Admission, Change, Step, steps

# Whatever can be chosen of a Transformer that the engine takes.
FREE = ("mixer", "norm_position", "norm", "activation", "positions", "groups", "frame", "tie")
PLAIN = {name: axis.options[0] for name, axis in AXES.items()} | {"encoder": "transformer", "decoder": "transformer"}
NOT_TAKEN = ("relative", "alibi", "average")
KINDS = {name: Axis(tuple(option for option in AXES[name].options if option not in NOT_TAKEN)) for name in FREE}

TAKEN = [Case(tuple((PLAIN | choice).items())) for choice in covering(KINDS, lambda choice: sensible(PLAIN | choice))]


def attends(case: Case) -> bool:
    """Return whether the target's own positions are mixed by attention, and not by a unit."""
    return dict(case.options)["mixer"] == "attention"


each_taken = pytest.mark.parametrize("case", TAKEN, ids=str)


def fused(net: Seq2Seq) -> Scorer:
    """Return the steps written out."""
    return FusedTransformer(net, net.encoder, transposed)


def in_c(net: Seq2Seq) -> Scorer:
    """Return the steps compiled."""
    return CompiledTransformer(net, is_narrow=False)


def engine_of(scorer: Scorer) -> Engine:
    """Return what searches with a scorer."""
    return Compiled(scorer) if isinstance(scorer, CompiledTransformer) else Eager(scorer)


def id_of(value: Case | Callable[[Seq2Seq], Scorer]) -> str:
    """Name a case or an engine in the name of a test."""
    return str(value) if isinstance(value, Case) else value.__name__


each_pair = pytest.mark.parametrize(
    ("case", "engine"),
    [(case, engine) for case in TAKEN for engine in ([fused, in_c] if attends(case) else [in_c])],
    ids=id_of,
)
pytestmark = pytest.mark.usefixtures("compiler")


def test_what_is_refused_is_named() -> None:
    for case in PRODUCT:
        if not isinstance(case, Case):
            continue
        choice = dict(case.options)
        plain = (
            choice["decoder"] == "transformer"
            and choice["head"] == "softmax"
            and choice["positions"] not in ("relative", "alibi")
        )
        for why_not, mixers in ((why_not_fused, ("attention",)), (why_not_compiled, ("attention", "ssru"))):
            taken = plain and choice["mixer"] in mixers
            reason = why_not(model(case))
            assert (reason == "") == taken
            assert taken or reason.startswith("model.")


@pytest.mark.parametrize("is_narrow", [False, True], ids=["fp32", "8 bits"])
@torch.no_grad()
def test_a_unit_may_follow_an_encoder_that_turns_queries_and_keys(is_narrow: bool) -> None:
    """Build the two sides apart: no case of the product has positions on one side alone."""
    case = Case(tuple((PLAIN | {"mixer": "ssru"}).items()))
    turning = Case(tuple((PLAIN | {"positions": "rotary"}).items()))
    net = model(case, seed=9)
    net.encoder = model(turning, seed=9).encoder
    scorer, data = CompiledTransformer(net, is_narrow), batch(case, seed=19, num_rows=5)
    if is_narrow:
        round_like(net, scorer)
    memory, mask = scorer.encode(data.source, Scratch(13))
    assert not torch.allclose(memory[mask], model(case, seed=9).encoder(data.source).states[mask], atol=0.2)
    (expected_context, expected), (context, state) = net.start(data.source), scorer.start(data.source)
    for token in (2, 5, 9):
        tokens = torch.full([5], token)
        wanted, expected = net.step(tokens, expected, expected_context)
        found, state = scorer.step(tokens, state, context)
        assert torch.allclose(found, wanted, atol=1e-2 if is_narrow else 1e-4)


@each_pair
@pytest.mark.parametrize("beam", [1, 4])
@torch.no_grad()
def test_engines_find_what_the_model_finds(case: Case, engine: Callable[[Seq2Seq], Scorer], beam: int) -> None:
    net, data = model(case, seed=4), batch(case, seed=14, num_rows=6)
    options = SearchConfig(beam=beam, n_best=beam, max_length_ratio=1.0, max_length_extra=40)
    lengths = data.source.mask.sum(1)
    # More than FIRST_CAPACITY steps, and sentences that finish at different times.
    prefixes = torch.randint(4, 13, [6, 3], generator=torch.Generator().manual_seed(5))
    for begun in (prefixes[:, :0], prefixes):
        expected = Eager(net)(data.source, lengths, begun, options)
        found = engine_of(engine(net))(data.source, lengths, begun, options)
        assert torch.equal(found.tokens, expected.tokens)
        assert torch.allclose(found.scores, expected.scores, atol=1e-4)


@each_pair
@torch.no_grad()
def test_engines_score_forced_tokens_as_the_model_does(case: Case, engine: Callable[[Seq2Seq], Scorer]) -> None:
    """Follow random hypotheses, reordered at every step and with a sentence left out, on both sides."""
    net, data = model(case, seed=5), batch(case, seed=15, num_rows=3)
    draw = torch.Generator().manual_seed(6)
    scorers = [net, engine(net)]
    begun = [scorer.start(data.source) for scorer in scorers]
    contexts, states = [context for context, _ in begun], [state for _, state in begun]
    token = torch.full([3], 2)
    origins = torch.arange(3).repeat_interleave(2)
    for time in range(40):
        results = [
            scorer.step(token, state, context) for scorer, state, context in zip(scorers, states, contexts, strict=True)
        ]
        assert torch.allclose(results[0][0], results[1][0], atol=1e-4)
        states = [rows.select(state, origins) for _, state in results]
        if time == 5:
            keep = torch.tensor([0, 2])
            contexts = [rows.select(context, keep) for context in contexts]
            states = [rows.select(state, torch.tensor([0, 1, 4, 5])) for state in states]
        count = len(origins) if time < 5 else 4
        token = torch.randint(4, 13, [count], generator=draw)
        # Either of a sentence's two hypotheses may continue as either.
        origins = torch.arange(count) // 2 * 2 + torch.randint(2, [count], generator=draw)


def in_steps(values: Tensor) -> Tensor:
    """Round each row [.., N] to 256 steps from its lowest value to its highest."""
    lowest = values.amin(dim=-1, keepdim=True)
    step = (values.amax(dim=-1, keepdim=True) - lowest).clamp(min=1e-30) / 255
    return ((values - lowest) / step).round() * step + lowest


def round_like(net: Seq2Seq, scorer: CompiledTransformer) -> None:
    """Have a model round its dense layers, and what they read, as a scorer in 8 bits does."""
    assert scorer.packing.narrow is not None
    # What the head shares with the embeddings is rounded for the head alone.
    net.head.projection.weight = torch.nn.Parameter(net.head.projection.weight.clone())
    for part in net.modules():
        if isinstance(part, torch.nn.Linear):
            narrow, scales = rounded(part.weight, scorer.packing.narrow.largest)
            part.weight.copy_(narrow * scales.unsqueeze(1))
            part.register_forward_pre_hook(lambda _, given: (in_steps(given[0]),))


@each_taken
@torch.no_grad()
def test_compiled_in_8_bits_is_the_model_of_rounded_numbers(case: Case) -> None:
    """Hold scores to a model whose weights and values are rounded likewise; few rows and many.

    A value next to the border of two steps may fall on either side, so that the scores of one row in seven may differ
    a little; were anything else rounded, or in another way, those of all rows would.
    """
    net = model(case, seed=7)
    scorer = CompiledTransformer(net, is_narrow=True)
    round_like(net, scorer)
    different = 0
    for num_rows in (2, 14):
        data = batch(case, seed=17, num_rows=num_rows)
        (expected_context, expected), (context, state) = net.start(data.source), scorer.start(data.source)
        for token in (2, 5, 9):
            tokens = torch.full([num_rows], token)
            wanted, expected = net.step(tokens, expected, expected_context)
            found, state = scorer.step(tokens, state, context)
            apart = (found - wanted).abs()
            assert apart.median() < 1e-4
            different += int((apart.amax(dim=1) > 1e-3).sum())
            assert apart.max() < 0.2
    assert different <= 3 * (2 + 14) // 7


@each_taken
@pytest.mark.parametrize("is_narrow", [False, True], ids=["fp32", "8 bits"])
@torch.no_grad()
def test_what_a_row_gets_does_not_depend_on_how_many_there_are(case: Case, is_narrow: bool) -> None:
    """Compare to the last bit: all block sizes of products round alike."""
    scorer = CompiledTransformer(model(case, seed=8), is_narrow)
    source = batch(case, seed=18, num_rows=14).source
    context, state = scorer.start(source)
    whole = scorer.step(torch.full([14], 2), state, context)[0].clone()
    for num_rows in range(1, 14):
        index = torch.arange(14 - num_rows, 14)
        context, state = scorer.start(rows.select(source, index))
        assert torch.equal(scorer.step(torch.full([num_rows], 2), state, context)[0], whole[index]), num_rows


@pytest.mark.parametrize("case", SAMPLE, ids=str)
@torch.no_grad()
def test_dense_layers_laid_out_again_give_the_same(case: Case) -> None:
    net, data = model(case, seed=6), batch(case, seed=16)
    other = laid_out(net, transposed)
    expected, found = (
        made.step(torch.full([4], 2), state, context)[0]
        for made, (context, state) in ((made, made.start(data.source)) for made in (net, other))
    )
    assert torch.allclose(found, expected, atol=1e-4)
    assert {id(weight) for weight in other.parameters()} <= {id(weight) for weight in net.parameters()}


def of_the_model(net: Seq2Seq) -> Scorer:
    """Return the model itself."""
    return net


def in_8_bits(net: Seq2Seq) -> Scorer:
    """Return the compiled engine with weights of 8 bits."""
    return CompiledTransformer(net, is_narrow=True)


def in_bf16(net: Seq2Seq) -> Scorer:
    """Return the written-out steps with products in bf16."""
    return FusedTransformer(net, net.encoder, bf16)


def all_engines(case: Case) -> list[Callable[[Seq2Seq], Scorer]]:
    """Return what scores a case: every engine that takes it."""
    others: list[Callable[[Seq2Seq], Scorer]] = [fused, in_bf16] if attends(case) else []
    return [of_the_model, in_c, in_8_bits, *others]


@pytest.mark.parametrize(
    ("case", "engine"), [(case, engine) for case in TAKEN for engine in all_engines(case)], ids=id_of
)
@pytest.mark.parametrize("beam", [1, 3])
@torch.no_grad()
def test_a_sentence_that_joins_gets_what_it_gets_alone(
    case: Case, engine: Callable[[Seq2Seq], Scorer], beam: int
) -> None:
    """Law 15. Two groups of sentences join a running search, each with limits of its own, and some leave before."""
    net, data = model(case, seed=24), batch(case, seed=34, num_rows=7)
    scorer, source = engine(net), data.source
    options = SearchConfig(beam=beam, n_best=1, max_length_ratio=0)
    limits = torch.tensor([3, 12, 9, 11, 2, 14, 8])

    def part(first: int, last: int) -> tuple[Any, Tensor]:
        return rows.select(source, torch.arange(first, last)), limits[first:last]

    # Otherwise the first sentences might have ended before the others join.
    long = [MinimumLength(7)]
    generator = steps(scorer, part(0, 3)[0], options, limits[:3], long)
    for _ in range(5):
        next(generator)
    generator.send(Change(admit=Admission(*part(3, 5), long)))
    next(generator)
    found = drained(generator, Change(admit=Admission(*part(5, 7), long)))
    # Neighbours change the blocks of a product, and with them its rounding; in bf16 that is seen.
    apart = 2e-2 if engine in (in_bf16, in_8_bits) else 1e-4
    for number in range(7):
        alone = search_alone(scorer, part(number, number + 1), options)
        assert torch.allclose(found.scores[number], alone.scores[0], atol=apart), number
        if apart < 1e-3:
            length = int(alone.lengths[0, 0])
            assert found.lengths[number, 0] == length
            assert torch.equal(found.tokens[number, 0, :length], alone.tokens[0, 0, :length])


def drained(generator: Generator[Step, Change | None, Hypotheses], change: Change | None) -> Hypotheses:
    """Send a change and run the search to its end."""
    try:
        generator.send(change)
        while True:
            next(generator)
    except StopIteration as stop:
        hypotheses: Hypotheses = stop.value
        return hypotheses


def search_alone(scorer: Scorer, part: tuple[Any, Tensor], options: SearchConfig) -> Hypotheses:
    """Search one sentence."""
    generator = steps(scorer, part[0], options, part[1], [MinimumLength(7)])
    return drained(generator, None)
