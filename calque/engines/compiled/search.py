"""Greedy and beam search with the compiled Transformer: one call computes a step and chooses its hypotheses.

The outputs equal those of `calque.search.steps`, which searches with any scorer.
"""

import ctypes
from dataclasses import dataclass
from itertools import count

import torch
from torch import Tensor

from calque.engines.compiled.layout import Float, Int, Pointer
from calque.engines.compiled.transformer import CompiledTransformer
from calque.engines.engine import Branch, Engine
from calque.ids import BOS, EOS, PAD, UNK
from calque.rows import Record, select
from calque.search.hypotheses import Hypotheses, deliver, nothing_ended, trimmed
from calque.search.lengths import divisor, max_lengths
from calque.search.options import SearchConfig
from calque.search.scorer import Scorer

# The sum of an impossible hypothesis, as in the C source.
HIDDEN = -1e30


class Compiled(Engine):
    """Search with the compiled Transformer; greedy and beam search are compiled too."""

    honours = frozenset(
        ("beam", "n_best", "max_length_ratio", "max_length_extra", "length_penalty", "normalisation", "unknown")
    )

    def __init__(self, scorer: CompiledTransformer) -> None:
        self._scorer = scorer

    def scorer(self) -> Scorer:
        """Return the compiled model."""
        return self._scorer

    def branch(self, options: SearchConfig) -> Branch:
        """Return the compiled search."""

        def whole(source: Record, lengths: Tensor, prefixes: Tensor) -> Hypotheses:
            with torch.no_grad():
                return search(self._scorer, source, max_lengths(lengths, options), options)

        return whole


def search(scorer: CompiledTransformer, source: Record, limits: Tensor, options: SearchConfig) -> Hypotheses:
    """Return what `calque.search.steps` returns; outputs have at most `limits` [B] tokens, </s> not counted."""
    width = options.beam
    beam, results = _Beam.of(limits, options), nothing_ended(limits, options.n_best)
    banned = (PAD, BOS) if options.unknown else (PAD, BOS, UNK)
    numbers, spare = (ctypes.c_int64 * len(banned))(*banned), torch.empty(width, int(limits.max()), dtype=torch.int64)
    choice = _Choice(width=1, beam=width, n_best=options.n_best, length=spare.shape[1], num_banned=len(banned), end=EOS)
    candidates = torch.empty(2 * width, 3, dtype=torch.int32)
    choice.banned, choice.spare = ctypes.addressof(numbers), spare.data_ptr()
    choice.candidates = candidates.data_ptr()
    choice.point(beam)
    context, state = scorer.start(source)
    token = torch.full_like(limits, BOS)
    choice.next_divisor = divisor(1.0, options)
    for time in count():
        choice.divisor, choice.next_divisor = choice.next_divisor, divisor(float(time + 2), options)
        grown = torch.empty(len(beam.rows) * width, time + 1, dtype=torch.int32)
        choice.grown = grown.data_ptr()
        block = scorer.step_with(scorer.library.decoder_branch, token, state, context, ctypes.byref(choice))
        sentence = state.sentence if time else state.sentence.repeat_interleave(width)
        if choice.num_finished:
            gone, keep = (part.nonzero()[:, 0] for part in (beam.finished, ~beam.finished))
            deliver(results, beam.rows[gone], select(beam.ended, gone))
            if not len(keep):
                return trimmed(results)
            beam = select(beam, keep)
            choice.point(beam)
            places = (keep[:, None] * width + torch.arange(width)).flatten()
            grown, sentence = grown[places], sentence[places]
        choice.width = width
        state, token = state.after(block, grown, sentence), beam.tokens.flatten()
    raise AssertionError("unreachable: at its limit every sentence is finished")


class _Choice(ctypes.Structure):
    """The input and the output buffers of the search in `kernels/beam.h`."""

    _fields_ = (
        *((name, Int) for name in ("sentences", "width", "beam", "n_best", "length", "num_banned", "num_finished")),
        ("end", ctypes.c_int64),
        *((name, Pointer) for name in ("banned", "limits")),
        *((name, Float) for name in ("divisor", "next_divisor")),
        *((name, Pointer) for name in ("last_divisor", "sums", "ended_scores", "ended_sums")),
        *((name, Pointer) for name in ("history", "ended_lengths", "ended_tokens", "spare", "tokens", "grown")),
        *((name, Pointer) for name in ("finished", "candidates")),
    )

    def point(self, beam: "_Beam") -> None:
        """Set the addresses of the buffers of the sentences that are still searched."""
        self.sentences = len(beam.rows)
        for name in ("limits", "last_divisor", "sums", "history", "tokens", "finished"):
            setattr(self, name, getattr(beam, name).data_ptr())
        ended = beam.ended
        self.ended_scores, self.ended_sums = ended.scores.data_ptr(), ended.log_probs.data_ptr()
        self.ended_lengths, self.ended_tokens = ended.lengths.data_ptr(), ended.tokens.data_ptr()


@dataclass(frozen=True)
class _Beam:
    """The state of the search of B sentences: their numbers `rows`, and the buffers that `kernels/beam.h` writes."""

    rows: Tensor
    limits: Tensor
    last_divisor: Tensor
    sums: Tensor
    history: Tensor
    tokens: Tensor
    finished: Tensor
    ended: Hypotheses

    @staticmethod
    def of(limits: Tensor, options: SearchConfig) -> "_Beam":
        """Begin with one empty hypothesis per sentence."""
        ended = nothing_ended(limits, options.beam)
        sums = torch.full_like(ended.scores, HIDDEN)
        sums[:, 0] = 0
        finished, tokens = torch.empty(len(limits), dtype=torch.bool), torch.empty_like(ended.lengths)
        last_divisor = divisor((limits + 1).float(), options)
        rows = torch.arange(len(limits))
        return _Beam(rows, limits, last_divisor, sums, ended.tokens.clone(), tokens, finished, ended)
