"""Greedy and beam search as one loop, a generator of one record a step; `search` drains it.

Of 2K candidates a step, those that end and are among the best K join the K best ended ones; K others live on.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import torch
from torch import Tensor

from calque.ids import BOS, EOS, PAD, UNK
from calque.rows import select
from calque.search.largest import largest
from calque.search.lengths import divisor, largest_divisor, max_lengths
from calque.search.options import SearchConfig
from calque.search.processors import IMPOSSIBLE, Processor, wishes
from calque.search.scorer import Scorer


@dataclass(frozen=True)
class Hypotheses:
    """Hold the N best outputs of each of B sentences, best first.

    `tokens` [B, N, T] without <s> and </s>, padded with PAD; `lengths` [B, N] their number; `scores` [B, N] what they
    were ranked by; `log_probs` [B, N] the plain sums, </s> counted. Where a sentence has fewer than N possible
    outputs the rest have length 0 and score −inf.
    """

    tokens: Tensor
    lengths: Tensor
    scores: Tensor
    log_probs: Tensor


@dataclass(frozen=True)
class Step:
    """Show what one step did to the B' sentences still in the batch, with K hypotheses each.

    `rows` [B'] says which sentences these are; `parents` and `tokens` [B', K] from which hypothesis of the step
    before (0 at the first) each living one grew, and by what; `scores` [B', K] their sums of log-probabilities
    (−inf: no hypothesis); `ended` [B', K] the sum with </s> of each parent that ended here, else −inf (one column
    at the first step); `finished` [B'] true where the search is over: such a sentence may stay for a few steps.
    """

    rows: Tensor
    parents: Tensor
    tokens: Tensor
    scores: Tensor
    ended: Tensor
    finished: Tensor


@dataclass(frozen=True)
class _Beam:
    """Hold what search knows of its sentences: `rows`, `limits`, living `sums` and `history`, the best that ended."""

    rows: Tensor
    limits: Tensor
    sums: Tensor
    history: Tensor
    ended: Hypotheses


def search(
    scorer: Scorer, source: Any, source_lengths: Tensor, options: SearchConfig, processors: Sequence[Processor] = ()
) -> Hypotheses:
    """Return the best outputs of the sentences in `source`, whose lengths in tokens are `source_lengths` [B].

    `processors` come before those that `options` ask for, which give way to them; the longest length wins over all.
    """
    limits = max_lengths(source_lengths, options)
    generator = steps(scorer, source, options, limits, (*processors, *wishes(options)))
    while True:
        try:
            next(generator)
        except StopIteration as stop:
            hypotheses: Hypotheses = stop.value
            return hypotheses


@torch.no_grad()
def steps(
    scorer: Scorer, source: Any, options: SearchConfig, limits: Tensor, processors: Sequence[Processor] = ()
) -> Generator[Step, Tensor | None, Hypotheses]:
    """Search step by step; outputs have at most `limits` [B] int64 tokens, </s> not counted. Return the hypotheses.

    Send the numbers of sentences (as in `Step.rows`) to give them up: they keep what had ended until then. Only what
    is passed as `processors` is applied: `min_length` and `no_repeat_ngram` are `wishes(options)`.
    """
    beam, results = _begin(limits, options)
    if not len(limits):
        return results
    context, state = scorer.start(source)
    memories = tuple(processor.start(source) for processor in processors)
    token = torch.full_like(limits, BOS)
    earliest = int(limits.min())
    for time in count():
        log_probs, state = scorer.step(token, state, context)
        allowed = _apply(processors, memories, log_probs, beam.history[:, : beam.sums.shape[1], :time])
        scores = _add(allowed, beam.sums, options)
        if time >= earliest:
            _force_end(scores, log_probs[:, EOS] + beam.sums.flatten(), beam.limits <= time)
        step, beam, num_finished = _advance(scores, beam, options, time)
        given_up = yield step
        finished = step.finished
        if given_up is not None:
            finished = finished | torch.isin(beam.rows, given_up.to(beam.rows))
            num_finished = int(finished.sum())
        beam = replace(beam, sums=beam.sums.masked_fill(finished[:, None], IMPOSSIBLE))
        # Row b·W + p of the state is where hypothesis p of sentence b was.
        width = step.ended.shape[1]
        origins = torch.arange(len(beam.rows), device=limits.device)[:, None] * width + step.parents
        tokens, moved = step.tokens, options.beam > 1
        if num_finished and _worth_dropping(num_finished, len(beam.rows)):
            order = finished.int().argsort(stable=True)
            keep, gone = order.tensor_split([len(order) - num_finished])
            deliver(results, beam.rows[gone], select(beam.ended, gone))
            if not len(keep):
                return trimmed(results)
            beam, context, moved = select(beam, keep), select(context, keep), True
            origins, tokens = origins[keep], tokens[keep]
        # [B', K] -> [B'·K]
        origins, token = origins.flatten(), tokens.flatten()
        state = select(state, origins) if moved else state
        memories = tuple(
            processor.advance(memory, origins, token) for processor, memory in zip(processors, memories, strict=True)
        )
    raise AssertionError("unreachable: at its limit every sentence is finished")


def _worth_dropping(num_finished: int, held: int) -> bool:
    """Say whether to move the living rows together now: it costs a copy of the state, as a beam's step does anyway."""
    return held <= 16 or 8 * num_finished >= held or num_finished == held


def _begin(limits: Tensor, options: SearchConfig) -> tuple[_Beam, Hypotheses]:
    ended = nothing_ended(limits, options.beam)
    # One hypothesis, the empty one, until the first step has branched it.
    sums = torch.zeros([len(limits), 1], device=limits.device)
    rows = torch.arange(len(limits), device=limits.device)
    return _Beam(rows, limits, sums, ended.tokens.clone(), ended), nothing_ended(limits, options.n_best)


def nothing_ended(limits: Tensor, width: int) -> Hypotheses:
    """Return room for the `width` best of B sentences, of which none is there yet; `limits` [B] as in `steps`."""
    num_sentences, longest = len(limits), int(limits.max()) if len(limits) else 0
    tokens = limits.new_full([num_sentences, width, longest], PAD)
    scores = torch.full([num_sentences, width], IMPOSSIBLE, device=limits.device)
    return Hypotheses(tokens, limits.new_zeros([num_sentences, width]), scores, scores.clone())


def _apply(processors: Sequence[Processor], memories: Sequence[Any], log_probs: Tensor, history: Tensor) -> Tensor:
    """Return what `processors` leave of `log_probs` [R, V]; they are shown nothing that can never be produced."""
    if not processors:
        return log_probs
    allowed = log_probs.to(torch.float32, copy=True)
    allowed[:, PAD] = allowed[:, BOS] = IMPOSSIBLE
    for processor, memory in zip(processors, memories, strict=True):
        allowed = processor.apply(allowed, history.flatten(0, 1), memory)
    return allowed


def _add(log_probs: Tensor, sums: Tensor, options: SearchConfig) -> Tensor:
    """Return the scores [B', K, V] in float32, a tensor of their own: log-probabilities [B'·K, V] on living sums."""
    scores = (log_probs + sums.view(-1, 1)).float()
    for token in (PAD, BOS) if options.unknown else (PAD, BOS, UNK):
        scores[:, token] = IMPOSSIBLE
    return scores.view(*sums.shape, -1)


def _force_end(scores: Tensor, ends: Tensor, full: Tensor) -> None:
    """Leave only </s> to the sentences that are `full` [B'], at the model's own score, whatever processors say."""
    scores.masked_fill_(full[:, None, None], IMPOSSIBLE)
    scores[:, :, EOS] = torch.where(full[:, None], ends.view(scores.shape[:2]), scores[:, :, EOS])


def _advance(scores: Tensor, beam: _Beam, options: SearchConfig, time: int) -> tuple[Step, _Beam, int]:
    """Choose survivors and endings of `scores` [B', W, V]; return the number of finished sentences too."""
    parents, tokens, sums, ended = _branch(scores, options.beam)
    normalised = torch.cat([beam.ended.scores, ended / divisor(float(time + 1), options)], 1)
    # Stable: of equals the one that ended first stays, and what is impossible never displaces anything.
    ranked = normalised.sort(dim=1, descending=True, stable=True)
    order, best = ranked.indices[:, : options.beam], ranked.values[:, : options.beam]
    finished = _is_finished(best, sums, beam.limits, options, time)
    # The step's only wait for the device.
    num_finished, any_ended = torch.stack([finished.sum(), (ended > IMPOSSIBLE).sum()]).tolist()
    if any_ended:
        _merge(beam, ended, order, time)
    if time and options.beam > 1:
        # Only the filled part of the history moves.
        filled = beam.history[:, :, :time]
        filled.copy_(filled.gather(1, parents[:, :, None].expand_as(filled)))
    if time < beam.history.shape[2]:
        beam.history[:, :, time] = tokens
    step = Step(beam.rows, parents, tokens, sums, ended, finished)
    return step, replace(beam, sums=sums, ended=replace(beam.ended, scores=best)), num_finished


def _branch(scores: Tensor, beam: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return parents, tokens and sums [B', K] of the hypotheses that live on, and of [B', W] that end the sums.

    At most K of the best 2K candidates end, so K others remain. Greedy search has one candidate: either it ends and
    the sentence is finished, or it lives on.
    """
    num_sentences, width, num_tokens = scores.shape
    wanted = 2 * beam if beam > 1 else 1
    sums, places = largest(scores.flatten(1), min(wanted, width * num_tokens))
    missing = wanted - sums.shape[1]
    if missing:  # the vocabulary is smaller than the beam
        sums = torch.nn.functional.pad(sums, (0, missing), value=IMPOSSIBLE)
        places = torch.nn.functional.pad(places, (0, missing), value=PAD)
    parents, tokens = places // num_tokens, places % num_tokens
    ends = tokens == EOS
    ended = scores.new_full([num_sentences, width], IMPOSSIBLE).scatter_reduce(
        1, parents[:, :beam], sums.where(ends, IMPOSSIBLE)[:, :beam], "amax"
    )
    sums = sums.masked_fill(ends, IMPOSSIBLE)
    if beam == 1:
        return parents, tokens, sums, ended
    living = ends.int().argsort(dim=1, stable=True)[:, :beam]
    return parents.gather(1, living), tokens.gather(1, living), sums.gather(1, living), ended


def _is_finished(best: Tensor, sums: Tensor, limits: Tensor, options: SearchConfig, time: int) -> Tensor:
    """Say for which sentences [B'] nothing that still lives can, or is likely to, change the outcome.

    Log-probabilities only fall, so a living sum over the largest divisor that it can still meet bounds every score
    that it can lead to: no better than the last of the n best that ended, it is over for certain. Where scores grow
    with length that bound is loose, and search would go on to little use; so it is over, too, once K have ended and
    the best living one would not beat the worst of them if it ended next for free.
    """
    shortest = time + 2  # tokens of a living hypothesis that ends next, </s> counted
    living = sums[:, 0]
    certain = living / largest_divisor(shortest, limits + 1, options) <= best[:, options.n_best - 1]
    worst = best[:, -1]
    likely = (worst > IMPOSSIBLE) & (living / divisor(float(shortest), options) <= worst)
    return certain | likely | (limits <= time)


def _merge(beam: _Beam, sums: Tensor, order: Tensor, time: int) -> None:
    """Write the best of ended and just ended hypotheses, by `order` [B', K], into the buffers of `beam.ended`."""
    ended, width = beam.ended, sums.shape[1]
    ended.log_probs.copy_(torch.cat([ended.log_probs, sums], 1).gather(1, order))
    lengths = torch.cat([ended.lengths, torch.full_like(sums, time, dtype=torch.int64)], 1)
    ended.lengths.copy_(lengths.gather(1, order))
    filled = ended.tokens[:, :, :time]
    tokens = torch.cat([filled, beam.history[:, :width, :time]], 1)
    filled.copy_(tokens.gather(1, order[:, :, None].expand_as(filled)))


def deliver(results: Hypotheses, rows: Tensor, ended: Hypotheses) -> None:
    """Write the best that ended of the sentences `rows` to their places."""
    n_best = results.tokens.shape[1]
    results.tokens[rows] = ended.tokens[:, :n_best]
    results.lengths[rows] = ended.lengths[:, :n_best]
    results.scores[rows] = ended.scores[:, :n_best]
    results.log_probs[rows] = ended.log_probs[:, :n_best]


def trimmed(results: Hypotheses) -> Hypotheses:
    """Leave out the columns that no output reaches."""
    return replace(results, tokens=results.tokens[:, :, : int(results.lengths.max())])
