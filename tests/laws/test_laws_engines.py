"""Engines are held to the model: the same outputs and scores, whatever the combination, the beam and the batch."""

import pytest
import torch
from covering import Axis, covering
from parts import AXES, PRODUCT, SAMPLE, Case, batch, model

from calque import rows
from calque.engines.dense import laid_out, transposed
from calque.engines.eager import Eager
from calque.engines.fused import FusedTransformer, why_not
from calque.search.options import SearchConfig

# Whatever can be chosen of a Transformer that the engine takes.
FREE = ("norm_position", "norm", "activation", "positions", "groups", "frame", "tie")
PLAIN = {name: axis.options[0] for name, axis in AXES.items()} | {"encoder": "transformer", "decoder": "transformer"}
KINDS = {
    name: Axis(tuple(option for option in AXES[name].options if option not in ("relative", "rotary", "alibi")))
    for name in FREE
}
TAKEN = [Case(tuple((PLAIN | choice).items())) for choice in covering(KINDS, lambda choice: True)]
each_taken = pytest.mark.parametrize("case", TAKEN, ids=str)


def fused(net) -> Eager:
    """Return the engine under test."""
    return Eager(FusedTransformer(net, net.encoder, transposed))


def test_what_is_refused_is_named() -> None:
    for case in PRODUCT:
        if not isinstance(case, Case):
            continue
        choice = dict(case.options)
        taken = (
            choice["decoder"] == "transformer"
            and choice["mixer"] == "attention"
            and choice["head"] == "softmax"
            and choice["positions"] not in ("relative", "rotary", "alibi")
        )
        reason = why_not(model(case))
        assert (reason == "") == taken
        assert taken or reason.startswith("model.")


@each_taken
@pytest.mark.parametrize("beam", [1, 4])
@torch.no_grad()
def test_fused_finds_what_the_model_finds(case: Case, beam: int) -> None:
    net, data = model(case, seed=4), batch(case, seed=14, num_rows=6)
    options = SearchConfig(beam=beam, n_best=beam, max_length_ratio=1.0, max_length_extra=40)
    lengths = data.source.mask.sum(1)
    # More than FIRST_CAPACITY steps, and sentences that finish at unlike times.
    prefixes = torch.randint(4, 13, [6, 3], generator=torch.Generator().manual_seed(5))
    for begun in (prefixes[:, :0], prefixes):
        expected = Eager(net)(data.source, lengths, begun, options)
        found = fused(net)(data.source, lengths, begun, options)
        assert torch.equal(found.tokens, expected.tokens)
        assert torch.allclose(found.scores, expected.scores, atol=1e-4)


@each_taken
@torch.no_grad()
def test_fused_scores_forced_tokens_as_the_model_does(case: Case) -> None:
    """Follow random hypotheses, reordered at every step and with a sentence left out, on both sides."""
    net, data = model(case, seed=5), batch(case, seed=15, num_rows=3)
    draw = torch.Generator().manual_seed(6)
    scorers = [net, FusedTransformer(net, net.encoder, transposed)]
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
        # Any of a sentence's two hypotheses may go on as either.
        origins = torch.arange(count) // 2 * 2 + torch.randint(2, [count], generator=draw)


@pytest.mark.parametrize("case", SAMPLE, ids=str)
@torch.no_grad()
def test_dense_layers_laid_out_anew_say_the_same(case: Case) -> None:
    net, data = model(case, seed=6), batch(case, seed=16)
    other = laid_out(net, transposed)
    expected, found = (
        made.step(torch.full([4], 2), state, context)[0]
        for made, (context, state) in ((made, made.start(data.source)) for made in (net, other))
    )
    assert torch.allclose(found, expected, atol=1e-4)
    assert {id(weight) for weight in other.parameters()} <= {id(weight) for weight in net.parameters()}
