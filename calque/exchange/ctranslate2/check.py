"""Comparison of an exported CTranslate2 model with the original, on sentences of its own training data.

Both must give the same log-probabilities to outputs of either, and greedy search must choose the same tokens except
for ties within the rounding of fp32.
"""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from calque.data.collate import collate_pairs, collate_sources
from calque.data.store.token_store import TokenStore
from calque.engines.ctranslate2.engine import CTranslate2
from calque.engines.eager import Eager
from calque.errors import CalqueError, DataError
from calque.ids import EOS, NUM_SPECIALS
from calque.model import Seq2Seq
from calque.predict.predictor import Predictor
from calque.search.hypotheses import Hypotheses
from calque.text.source import SourceIds, plain_sources
from calque.text.tokenizers.tags import TaggedTokenizer

NUM_SENTENCES = 32
LONGEST = 60
# Of the log-probability of one token: a hundred times the rounding of fp32, a hundredth of the effect of a mistake.
NOISE = 1e-3


def sentences(folder: Path, predictor: Predictor) -> list[SourceIds]:
    """Return sources for the comparison: from the training data if the folder contains some, else random ones."""
    size = predictor.text.source.vocab_size
    # An old store may belong to other tokenizers.
    stored = [ids for ids in _stored(folder) if max(ids, default=0) < size]
    found = [_framed(source, predictor) for source in plain_sources(stored or _made_up(predictor))]
    if predictor.text.inputs.is_one_text:
        found = predictor.text.read_sources(_shown(folder)) + found
    return [source for source in found if 0 < len(source) < predictor.max_length][:NUM_SENTENCES]


def check(engine: CTranslate2, predictor: Predictor, sources: Sequence[SourceIds]) -> None:
    """Raise CalqueError if log-probabilities or outputs of the engine differ from those of the model."""
    source = collate_sources(sources)
    lengths = torch.tensor([len(one) + 1 for one in sources])
    prefixes = torch.tensor([one.prefix for one in sources], dtype=torch.int64).reshape(len(sources), -1)
    for beam in (1, max(2, predictor.options.beam)):
        options = predictor.options.model_copy(update={"beam": beam, "n_best": 1})
        with torch.inference_mode():
            ours = Eager(predictor.model)(source, lengths, prefixes, options)
            theirs = engine(source, lengths, prefixes, options)
        mine, others = _outputs(ours), _outputs(theirs)
        _compare(ours.log_probs[:, 0].tolist(), list(map(sum, _scored(engine, sources, mine))), mine)
        _compare(_log_probs(predictor.model, sources, others), theirs.log_probs[:, 0].tolist(), others)
        unlike = [row for row in range(len(mine)) if mine[row] != others[row]]
        # The two beam searches stop by different rules; their scores were compared above.
        if beam == 1 and unlike:
            chosen = ([side[row] for row in unlike] for side in (mine, others))
            _require_ties(engine, [sources[row] for row in unlike], *chosen)


def _compare(expected: Sequence[float], found: Sequence[float], outputs: list[list[int]]) -> None:
    """Compare the sums of the log-probabilities of outputs."""
    for own, other, tokens in zip(expected, found, outputs, strict=True):
        if not abs(own - other) <= NOISE * (len(tokens) + 1):
            raise _wrong(f"a log-probability of {own:.5f} is {other:.5f} there")


def _require_ties(
    engine: CTranslate2, sources: Sequence[SourceIds], mine: list[list[int]], others: list[list[int]]
) -> None:
    """Raise CalqueError if greedy search chooses other tokens, except after a tie."""
    scored = zip(_scored(engine, sources, mine), _scored(engine, sources, others), strict=True)
    for row, (one, other) in enumerate(scored):
        # With </s> at the end, no output is a prefix of another.
        pairs = zip([*mine[row], EOS], [*others[row], EOS], strict=False)
        place = next(place for place, (token, other_token) in enumerate(pairs) if token != other_token)
        if not abs(one[place] - other[place]) <= 2 * NOISE:
            raise _wrong("greedy search gives another output there")


@torch.inference_mode()
def _log_probs(model: Seq2Seq, sources: Sequence[SourceIds], outputs: list[list[int]]) -> list[float]:
    """Return the model's own sums of log-probabilities of outputs."""
    losses: Tensor = model.eval().losses(collate_pairs(sources, outputs))
    sums: list[float] = (-losses.sum(dim=1)).tolist()
    return sums


def _scored(engine: CTranslate2, sources: Sequence[SourceIds], outputs: list[list[int]]) -> list[list[float]]:
    """Return the engine's log-probabilities of each output's tokens and of </s> after them."""
    names = engine.source_names
    return engine.log_probs([[names[token] for token in [*source.tokens, EOS]] for source in sources], outputs)


def _outputs(hypotheses: Hypotheses) -> list[list[int]]:
    found = zip(hypotheses.tokens[:, 0].tolist(), hypotheses.lengths[:, 0].tolist(), strict=True)
    return [tokens[:length] for tokens, length in found]


def _wrong(what: str) -> CalqueError:
    return CalqueError(
        f"CTranslate2 does not compute the same as calque for this model: {what}. Nothing was written. This is a bug of"
        " the export or of the installed version of CTranslate2"
    )


def _framed(source: SourceIds, predictor: Predictor) -> SourceIds:
    """Return a source with the prefix of the model's answers."""
    text = predictor.text
    tagged = isinstance(text.target, TaggedTokenizer) and text.inputs.tag_side == "target"
    tag = (text.target.vocab_size - 1,) if tagged else ()
    return SourceIds(source.tokens, prefix=(*text.frame.target, *tag))


def _shown(folder: Path) -> list[str]:
    """Return the sources of the samples in the journal of the training."""
    lines: dict[str, None] = {}
    try:
        with (folder / "metrics.jsonl").open(encoding="utf-8") as file:
            for line in file:
                if '"samples"' in line:
                    lines |= {str(sample["source"]): None for sample in json.loads(line)["samples"]}
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [line for line in lines if line.strip()]


def _stored(folder: Path) -> list[list[int]]:
    """Return sources of the training data, if they still exist."""
    for record in sorted((folder / "data").glob("*/store.json")):
        try:
            store = TokenStore.open(record.parent)
        except DataError:
            continue
        if not len(store):
            continue
        places: Any = np.unique(np.linspace(0, len(store) - 1, NUM_SENTENCES).astype(int))
        return [store.source(int(place)).tolist() for place in places]
    return []


def _made_up(predictor: Predictor) -> list[list[int]]:
    """Return random rows of the model's own tokens, the same each time."""
    draw, size = random.Random(1), predictor.text.source.vocab_size
    longest = max(1, min(LONGEST, predictor.max_length - 1))
    lengths = [draw.randint(1, longest) for _ in range(NUM_SENTENCES)]
    first = min(NUM_SPECIALS, size - 1)
    return [[draw.randrange(first, size) for _ in range(length)] for length in lengths]
