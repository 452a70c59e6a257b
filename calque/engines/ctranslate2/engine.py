"""CTranslate2 as an engine: its kernels and its search, with the scores and limits of calque.

Its search differs from that of calque in rare cases: an output at its limit, a token that must not be produced, a
source of nothing but </s>. The eager engine searches such sentences.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, Protocol

import torch
from torch import Tensor

from calque.batch import Source
from calque.engines.engine import PREFIX, Branch, Engine
from calque.ids import BOS, EOS, PAD
from calque.rows import select
from calque.search.hypotheses import Hypotheses
from calque.search.lengths import divisor, max_lengths
from calque.search.options import SearchConfig
from calque.search.processors import IMPOSSIBLE
from calque.search.scorer import Scorer

ComputeType = Literal["float32", "int8", "int16", "bfloat16"]
# It stops when beam · patience outputs have ended; calque continues while a living one may win.
PATIENCE = 2.0
Names = tuple[Sequence[str], Sequence[str]]
"""The names of the source and target tokens, by id."""
Ids = list[list[int]]


@dataclass(frozen=True)
class Setting:
    """The number type and the threads of CTranslate2; `workers` share the sentences of a batch."""

    compute_type: ComputeType = "float32"
    threads: int = 1
    workers: int = 1


PLAIN = Setting()


class Result(Protocol):
    """The outputs of one sentence, as names of tokens, and their scores, which depend on the length penalty."""

    hypotheses: list[list[str]]
    scores: list[float]


class Scored(Protocol):
    """The log-probabilities of the tokens of a target, and of </s> after them."""

    log_probs: list[float]


class Translator(Protocol):
    """The methods of `ctranslate2.Translator`, which has no type hints; their options are those of its reference."""

    translate_batch: Callable[..., Sequence[Result]]
    score_batch: Callable[..., Sequence[Scored]]


@dataclass(frozen=True)
class Hypothesis:
    """An output: its tokens without </s>, the sum of its log-probabilities, and whether it ended with </s>."""

    tokens: list[int]
    log_prob: float
    ended: bool

    def score(self, options: SearchConfig) -> float:
        """Return the score that ranks it."""
        return self.log_prob / divisor(float(len(self.tokens) + 1), options)

    def is_odd(self, limit: int) -> bool:
        """Return whether calque's search would not return it."""
        return not self.ended or len(self.tokens) > limit or PAD in self.tokens or BOS in self.tokens


class CTranslate2(Engine):
    """Search with a CTranslate2 `translator` whose vocabularies have the `names`.

    `rest` searches the sentences that it does not support, and batches of longer sources or targets than `longest`.
    """

    owns_threads = True
    honours = frozenset(
        (
            PREFIX,
            *("beam", "n_best", "max_length_ratio", "max_length_extra", "min_length"),
            *("length_penalty", "normalisation", "no_repeat_ngram", "unknown"),
        )
    )

    def __init__(
        self, translator: Translator, names: Names, rest: Engine, longest: tuple[int, int], workers: int = 1
    ) -> None:
        self.translator, self.rest, self.longest, self.workers = translator, rest, longest, workers
        self.source_names, self.target_names = names
        self.ids = {name: number for number, name in enumerate(self.target_names)}

    def scorer(self) -> Scorer:
        """Return the scorer of the other engine: CTranslate2 does not compute single steps."""
        return self.rest.scorer()

    def branch(self, options: SearchConfig) -> Branch:
        """Return the search of CTranslate2."""
        return partial(self._whole, options)

    def _whole(self, options: SearchConfig, source: Source, lengths: Tensor, prefixes: Tensor) -> Hypotheses:
        limits = max_lengths(lengths, options)
        if self._is_too_long(lengths, limits):
            return self.rest(source, lengths, prefixes, options)
        rows = [row[:length] for row, length in zip(source.tokens.tolist(), lengths.tolist(), strict=True)]
        begun = [[token for token in row if token != PAD] for row in prefixes.tolist()]
        best = self._search(rows, begun, int(limits.max()) + 1, options)
        found = packed(best, options, lengths.device)
        odd = [
            place
            for place, (row, outputs, limit) in enumerate(zip(rows, best, limits.tolist(), strict=True))
            if _is_empty(row) or len(outputs) < options.n_best or any(output.is_odd(limit) for output in outputs)
        ]
        if not odd:
            return found
        index = torch.tensor(odd, device=lengths.device)
        return replaced(found, index, self.rest(select(source, index), lengths[index], prefixes[index], options))

    def _is_too_long(self, lengths: Tensor, limits: Tensor) -> bool:
        return int(lengths.max()) > self.longest[0] or int(limits.max()) + 1 > self.longest[1]

    def _search(self, rows: Ids, begun: Ids, longest: int, options: SearchConfig) -> list[list[Hypothesis]]:
        """Return the best outputs of each sentence, of at most `longest` tokens with </s>."""
        sources = [[self.source_names[token] for token in row] for row in rows]
        found = [self._read(result, options) for result in self._ask(sources, begun, longest, options)]
        if any(begun):
            # It scores a forced token as certain, calque scores it by the model.
            scored = self.log_probs(sources, begun)
            lost = [sum(values[: len(tokens)]) for values, tokens in zip(scored, begun, strict=True)]
            found = [_shifted(outputs, change) for outputs, change in zip(found, lost, strict=True)]
        best = [_ranked(outputs, options) for outputs in found]
        if options.unknown and not options.min_length and not options.no_repeat_ngram:
            return best
        # It removes forbidden tokens before it normalises, so its scores are not those of the model.
        places = [(place, output) for place, outputs in enumerate(best) for output in outputs]
        scored = self.log_probs([sources[place] for place, _ in places], [output.tokens for _, output in places])
        exact: list[list[Hypothesis]] = [[] for _ in best]
        for (place, output), values in zip(places, scored, strict=True):
            exact[place].append(replace(output, log_prob=sum(values)))
        return [_ranked(outputs, options) for outputs in exact]

    def _ask(self, sources: list[list[str]], begun: Ids, longest: int, options: SearchConfig) -> Sequence[Result]:
        """Search, and return all outputs that ended; calque may choose other ones as the best of them."""
        prefixes = [[self.target_names[token] for token in row] for row in begun] if any(begun) else None
        patience = 1.0 if options.beam == 1 else PATIENCE
        alpha = _exponent(options)
        return self.translator.translate_batch(
            sources,
            target_prefix=prefixes,
            max_batch_size=math.ceil(len(sources) / self.workers) if self.workers > 1 else 0,
            beam_size=options.beam,
            patience=patience,
            # Without a penalty it stops once no living output can win.
            num_hypotheses=round(options.beam * patience) if alpha else options.n_best,
            length_penalty=alpha,
            no_repeat_ngram_size=options.no_repeat_ngram,
            disable_unk=not options.unknown,
            # With </s> its lengths are those of calque's divisor.
            return_end_token=True,
            max_input_length=0,
            max_decoding_length=longest,
            min_decoding_length=options.min_length,
            return_scores=True,
        )

    def _read(self, result: Result, options: SearchConfig) -> list[Hypothesis]:
        """Return the outputs of a sentence, with its scores converted back to sums."""
        alpha = _exponent(options)
        outputs = []
        for names, score in zip(result.hypotheses, result.scores, strict=True):
            tokens = [self.ids[name] for name in names]
            ended = tokens[-1:] == [EOS]
            # A source without text has an output without tokens, even without </s>.
            log_prob = score * max(1, len(tokens)) ** alpha
            outputs.append(Hypothesis(tokens[:-1] if ended else tokens, log_prob, ended))
        return outputs

    def log_probs(self, sources: list[list[str]], targets: Ids) -> list[list[float]]:
        """Return the log-probabilities of each target's tokens and of </s> after them."""
        names = [[self.target_names[token] for token in row] for row in targets]
        results = self.translator.score_batch(sources, names, max_input_length=0)
        return [result.log_probs for result in results]


def packed(best: list[list[Hypothesis]], options: SearchConfig, device: torch.device) -> Hypotheses:
    """Return the record of lists of outputs, best first."""
    size = len(best), options.n_best
    longest = max((len(output.tokens) for outputs in best for output in outputs), default=0)
    tokens = torch.full([*size, longest], PAD, dtype=torch.int64)
    lengths, scores = torch.zeros(size, dtype=torch.int64), torch.full(size, IMPOSSIBLE)
    log_probs = scores.clone()
    for row, outputs in enumerate(best):
        for rank, output in enumerate(outputs):
            tokens[row, rank, : len(output.tokens)] = torch.tensor(output.tokens, dtype=torch.int64)
            lengths[row, rank], log_probs[row, rank] = len(output.tokens), output.log_prob
            scores[row, rank] = output.score(options)
    return Hypotheses(tokens.to(device), lengths.to(device), scores.to(device), log_probs.to(device))


def replaced(found: Hypotheses, index: Tensor, others: Hypotheses) -> Hypotheses:
    """Return `found` with the rows at `index` [N] taken from the N rows of `others`."""
    width = max(found.tokens.shape[2], others.tokens.shape[2])

    def widened(tokens: Tensor) -> Tensor:
        return torch.nn.functional.pad(tokens, (0, width - tokens.shape[2]), value=PAD)

    lengths = found.lengths.index_copy(0, index, others.lengths)
    tokens = widened(found.tokens).index_copy(0, index, widened(others.tokens))
    return Hypotheses(
        tokens[:, :, : int(lengths.max())],
        lengths,
        found.scores.index_copy(0, index, others.scores),
        found.log_probs.index_copy(0, index, others.log_probs),
    )


def _exponent(options: SearchConfig) -> float:
    """Return the exponent of the length for its divisor; the form of GNMT, which it lacks, is applied afterwards."""
    if options.normalisation == "none" or not options.length_penalty:
        return 0.0
    return options.length_penalty if options.normalisation == "average" else 1.0


def _ranked(outputs: list[Hypothesis], options: SearchConfig) -> list[Hypothesis]:
    """Return the n best; of equal outputs the shorter, which ended first."""
    return sorted(outputs, key=lambda output: (-output.score(options), len(output.tokens)))[: options.n_best]


def _shifted(outputs: list[Hypothesis], change: float) -> list[Hypothesis]:
    return [replace(output, log_prob=output.log_prob + change) for output in outputs]


def _is_empty(row: list[int]) -> bool:
    """Return whether it would read such a source as no text, and return no text."""
    return all(token in (BOS, EOS) for token in row)
