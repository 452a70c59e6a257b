"""Search as one loop: a generator of one record per step, which `search` drains.

The loop joins scorer, processors and `choose` (greedy, beam, or one of your own). Each row has its own time and limit,
so that sentences may leave and others may join between two steps.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from calque import rows
from calque.ids import BOS, EOS, PAD, UNK
from calque.rows import Record, select
from calque.search.choose import Branches, Choose, chosen_by
from calque.search.hypotheses import Hypotheses, deliver, nothing_ended, trimmed
from calque.search.lengths import divisor, max_lengths
from calque.search.options import SearchConfig
from calque.search.processors import IMPOSSIBLE, Processor, require_joinable, wishes
from calque.search.scorer import Scorer


@dataclass(frozen=True)
class Step:
    """The result of one step for the B' sentences in the batch, with K hypotheses each.

    `rows` [B'] are the numbers of these sentences; `parents` and `tokens` [B', K]: the hypothesis of the previous
    step (0 at a sentence's first step) that each survivor continues, and its new token; `scores` [B', K]: their sums of
    log-probabilities (−inf: no hypothesis); `ended` [B', W]: the sum with </s> of each parent that ended in this step,
    else −inf; `finished` [B']: whether the search is over; such a sentence may stay for a few steps.
    """

    rows: Tensor
    parents: Tensor
    tokens: Tensor
    scores: Tensor
    ended: Tensor
    finished: Tensor


@dataclass(frozen=True)
class Admission:
    """Sentences that join a search: the record `source` of B, and the `limits` [B] of their outputs.

    Their numbers follow those of the earlier sentences. `processors` apply only to them and have the same kinds and the
    same order as those of the search; their states join those of the search.
    """

    source: Record
    limits: Tensor
    processors: Sequence[Processor] = ()


@dataclass(frozen=True)
class Change:
    """The changes of a caller between two steps: numbers of sentences to give up, and sentences that join.

    A sentence that is given up keeps the outputs that have ended.
    """

    give_up: Tensor | None = None
    admit: Admission | None = None


@dataclass(frozen=True)
class _Live:
    """The state of the search: one row for each of the B' sentences in the batch.

    `times` [B']: tokens of the living hypotheses; `limits` [B']: tokens at most; `sums` [B', W] and `history`
    [B', K, T] of the living; `ended`: the K best that ended; `choosing`: the state of `choose`.
    """

    rows: Tensor
    limits: Tensor
    times: Tensor
    sums: Tensor
    history: Tensor
    ended: Hypotheses
    choosing: Record


@dataclass(frozen=True)
class _Scored:
    """The state of scoring: the scorer's context and state, the processors' states, the last tokens."""

    context: Record
    state: Record
    memories: tuple[Record, ...]
    token: Tensor


def search(
    scorer: Scorer,
    source: Record,
    source_lengths: Tensor,
    options: SearchConfig,
    processors: Sequence[Processor] = (),
    choose: Choose | None = None,
) -> Hypotheses:
    """Return the best outputs of the sentences in `source`, whose lengths in tokens are `source_lengths` [B].

    `processors` come before those of `options` and override them; the maximum length overrides all. `choose` None is
    greedy or beam search, according to `options`.
    """
    limits = max_lengths(source_lengths, options)
    generator = steps(scorer, source, options, limits, (*processors, *wishes(options)), choose)
    while True:
        try:
            next(generator)
        except StopIteration as stop:
            hypotheses: Hypotheses = stop.value
            return hypotheses


@torch.no_grad()
def steps(
    scorer: Scorer,
    source: Record,
    options: SearchConfig,
    limits: Tensor,
    processors: Sequence[Processor] = (),
    choose: Choose | None = None,
) -> Generator[Step, Change | None, Hypotheses]:
    """Search step by step; outputs have at most `limits` [B] int64 tokens, </s> not counted. Return the hypotheses.

    Send a `Change` to give sentences up or to let others join. Only `processors` are applied: `min_length` and
    `no_repeat_ngram` are in `wishes(options)`.
    """
    choose = choose or chosen_by(options)
    results = nothing_ended(limits, options.n_best)
    if not len(limits):
        return results
    live = _begin(limits, choose, torch.arange(len(limits), device=limits.device))
    scored = _start(scorer, source, processors, torch.full_like(limits, BOS))
    # Bounds that are known without waiting for the device: steps to the nearest limit, and columns of the history.
    left, filled = int(limits.min()), 0
    while True:
        log_probs, state = scorer.step(scored.token, scored.state, scored.context)
        allowed = _apply(processors, scored.memories, log_probs, live.history[:, : live.sums.shape[1], :filled])
        scores = _add(allowed, live.sums, options)
        if left <= 0:
            _force_end(scores, log_probs[:, EOS] + live.sums.flatten(), live.limits <= live.times)
        step, live, num_finished = _advance(scores, live, options, choose, filled)
        left, filled = left - 1, filled + 1
        change = (yield step) or Change()
        finished = step.finished
        if change.give_up is not None:
            finished = finished | torch.isin(live.rows, change.give_up.to(live.rows))
            num_finished = int(finished.sum())
        live = replace(live, sums=live.sums.masked_fill(finished[:, None], IMPOSSIBLE))
        width = step.ended.shape[1]
        # Row b·W + p of the state belongs to hypothesis p of sentence b.
        origins = torch.arange(len(live.rows), device=limits.device)[:, None] * width + step.parents
        tokens, context, moved = step.tokens, scored.context, choose.width > 1
        if num_finished and (_worth_dropping(num_finished, len(live.rows)) or change.admit):
            order = finished.int().argsort(stable=True)
            keep, gone = order.tensor_split([len(order) - num_finished])
            deliver(results, live.rows[gone], select(live.ended, gone))
            if len(keep):
                context = select(context, keep)
            live, moved, origins, tokens = select(live, keep), True, origins[keep], tokens[keep]
        if len(live.rows):
            # [B', K] -> [B'·K]
            scored = _follow(processors, replace(scored, state=state, context=context), origins, tokens, moved)
        elif change.admit is None:
            return trimmed(results)
        if change.admit is not None:
            newcomers = _begin(
                change.admit.limits, choose, len(results.tokens) + torch.arange(len(change.admit.limits))
            )
            live, scored = _join(scorer, change.admit, processors, choose, (live, newcomers), scored)
            results = rows.join([results, nothing_ended(change.admit.limits, options.n_best)])
            left = int((live.limits - live.times).min())
            filled = int(live.times.max())


def _start(scorer: Scorer, source: Record, processors: Sequence[Processor], token: Tensor) -> _Scored:
    context, state = scorer.start(source)
    return _Scored(context, state, tuple(processor.start(source) for processor in processors), token)


def _follow(processors: Sequence[Processor], scored: _Scored, origins: Tensor, tokens: Tensor, moved: bool) -> _Scored:
    """Return the scoring state of the survivors: rows `origins` [B', K] of that of their parents, with new `tokens`."""
    origins, token = origins.flatten(), tokens.flatten()
    state = select(scored.state, origins) if moved else scored.state
    memories = tuple(
        processor.advance(memory, origins, token) for processor, memory in zip(processors, scored.memories, strict=True)
    )
    return _Scored(scored.context, state, memories, token)


def _join(
    scorer: Scorer,
    admission: Admission,
    processors: Sequence[Processor],
    choose: Choose,
    live: tuple[_Live, _Live],
    scored: _Scored,
) -> tuple[_Live, _Scored]:
    """Let sentences join with K equal hypotheses each; only the first is possible until they have branched."""
    before, newcomers = live
    number, width = len(newcomers.rows), choose.width
    started = _start(scorer, admission.source, admission.processors, torch.full_like(newcomers.rows, BOS))
    require_joinable(processors, admission.processors, started.memories)
    copies = torch.arange(number, device=newcomers.rows.device).repeat_interleave(width)
    sums = torch.nn.functional.pad(newcomers.sums, (0, width - 1), value=IMPOSSIBLE)
    newcomers = replace(newcomers, sums=sums)
    started = replace(
        started, **{name: select(getattr(started, name), copies) for name in ("state", "memories", "token")}
    )
    if not len(before.rows):
        return newcomers, started
    return rows.join([before, newcomers]), rows.join([scored, started])


def _worth_dropping(num_finished: int, held: int) -> bool:
    """Return whether to remove finished rows now, which copies the state as a step of a beam does."""
    return held <= 16 or 8 * num_finished >= held or num_finished == held


def _begin(limits: Tensor, choose: Choose, numbers: Tensor) -> _Live:
    ended = nothing_ended(limits, choose.width)
    # One empty hypothesis until the first step branches it.
    sums = torch.zeros([len(limits), 1], device=limits.device)
    times, history = torch.zeros_like(limits), ended.tokens.clone()
    return _Live(numbers.to(limits), limits, times, sums, history, ended, choose.start(len(limits)))


def _apply(processors: Sequence[Processor], memories: Sequence[Record], log_probs: Tensor, history: Tensor) -> Tensor:
    """Return `log_probs` [R, V] after the `processors`, which do not see tokens that can never be produced."""
    if not processors:
        return log_probs
    allowed = log_probs.to(torch.float32, copy=True)
    allowed[:, PAD] = allowed[:, BOS] = IMPOSSIBLE
    for processor, memory in zip(processors, memories, strict=True):
        allowed = processor.apply(allowed, history.flatten(0, 1), memory)
    return allowed


def _add(log_probs: Tensor, sums: Tensor, options: SearchConfig) -> Tensor:
    """Return the scores [B', K, V] as a new float32 tensor: log-probabilities [B'·K, V] added to the living sums."""
    scores = (log_probs + sums.view(-1, 1)).float()
    for token in (PAD, BOS) if options.unknown else (PAD, BOS, UNK):
        scores[:, token] = IMPOSSIBLE
    return scores.view(*sums.shape, -1)


def _force_end(scores: Tensor, ends: Tensor, full: Tensor) -> None:
    """Allow only </s> to the sentences that are `full` [B'], with the model's score, overriding all processors."""
    scores.masked_fill_(full[:, None, None], IMPOSSIBLE)
    scores[:, :, EOS] = torch.where(full[:, None], ends.view(scores.shape[:2]), scores[:, :, EOS])


def _advance(
    scores: Tensor, live: _Live, options: SearchConfig, choose: Choose, filled: int
) -> tuple[Step, _Live, int]:
    """Choose survivors and endings of `scores` [B', W, V]; return the number of finished sentences too."""
    chosen, choosing = choose.branch(scores, live.sums, live.choosing)
    lengths = (live.times + 1).unsqueeze(1)
    normalised = torch.cat([live.ended.scores, chosen.ended / divisor(lengths, options)], 1)
    # Stable: of equal scores the one that ended first stays, and an impossible one never replaces another.
    ranked = normalised.sort(dim=1, descending=True, stable=True)
    order, best = ranked.indices[:, : choose.width], ranked.values[:, : choose.width]
    finished = choose.is_finished(best, chosen.sums, live.times, live.limits)
    # The only wait for the device in a step.
    num_finished, any_ended = torch.stack([finished.sum(), (chosen.ended > IMPOSSIBLE).sum()]).tolist()
    if any_ended:
        _merge(live, chosen.ended, order, filled)
    _remember(live, chosen, filled)
    step = Step(live.rows, chosen.parents, chosen.tokens, chosen.sums, chosen.ended, finished)
    ended = replace(live.ended, scores=best)
    return step, replace(live, sums=chosen.sums, ended=ended, times=live.times + 1, choosing=choosing), num_finished


def _remember(live: _Live, chosen: Branches, filled: int) -> None:
    """Write the survivors' tokens into the buffer of the history, each at the time of its row."""
    if filled and chosen.parents.shape[1] > 1:
        # Only the filled part of the history is copied.
        old = live.history[:, :, :filled]
        old.copy_(old.gather(1, chosen.parents[:, :, None].expand_as(old)))
    longest = live.history.shape[2]
    if longest:
        # A sentence at its limit is finished; its value here is never read.
        places = live.times.clamp(max=longest - 1)[:, None, None].expand(-1, chosen.tokens.shape[1], 1)
        live.history.scatter_(2, places, chosen.tokens[:, :, None])


def _merge(live: _Live, sums: Tensor, order: Tensor, filled: int) -> None:
    """Write the best of ended and just ended hypotheses, by `order` [B', K], into the buffers of `live.ended`."""
    ended, width = live.ended, sums.shape[1]
    ended.log_probs.copy_(torch.cat([ended.log_probs, sums], 1).gather(1, order))
    lengths = torch.cat([ended.lengths, live.times[:, None].expand(-1, width)], 1)
    ended.lengths.copy_(lengths.gather(1, order))
    old = ended.tokens[:, :, :filled]
    tokens = torch.cat([old, live.history[:, :width, :filled]], 1)
    old.copy_(tokens.gather(1, order[:, :, None].expand_as(old)))
