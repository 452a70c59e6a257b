"""The result of a search: the best outputs of each sentence, and the buffers that collect them."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from calque.ids import PAD
from calque.search.processors import IMPOSSIBLE


@dataclass(frozen=True)
class Hypotheses:
    """The N best outputs of each of B sentences, best first.

    `tokens` [B, N, T] without <s> and </s>, padded with PAD; `lengths` [B, N] are their numbers; `scores` [B, N]
    rank them; `log_probs` [B, N] are the plain sums, with </s>. If a sentence has fewer than N possible outputs, the
    others have length 0 and score −inf.
    """

    tokens: Tensor
    lengths: Tensor
    scores: Tensor
    log_probs: Tensor


def nothing_ended(limits: Tensor, width: int) -> Hypotheses:
    """Return empty places for the `width` best outputs of B sentences; `limits` [B] as in `steps`."""
    num_sentences, longest = len(limits), int(limits.max()) if len(limits) else 0
    tokens = limits.new_full([num_sentences, width, longest], PAD)
    scores = torch.full([num_sentences, width], IMPOSSIBLE, device=limits.device)
    return Hypotheses(tokens, limits.new_zeros([num_sentences, width]), scores, scores.clone())


def deliver(results: Hypotheses, rows: Tensor, ended: Hypotheses) -> None:
    """Write the best ended outputs of the sentences `rows` to their places."""
    n_best = results.tokens.shape[1]
    # Sentences that joined after all others had finished may have shorter limits than those had.
    results.tokens[rows, :, : ended.tokens.shape[2]] = ended.tokens[:, :n_best]
    results.lengths[rows] = ended.lengths[:, :n_best]
    results.scores[rows] = ended.scores[:, :n_best]
    results.log_probs[rows] = ended.log_probs[:, :n_best]


def trimmed(results: Hypotheses) -> Hypotheses:
    """Return the hypotheses without the columns that no output reaches."""
    return replace(results, tokens=results.tokens[:, :, : int(results.lengths.max())])
