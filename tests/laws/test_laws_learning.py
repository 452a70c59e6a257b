"""Law 13: a tiny model of each kind learns to copy and to reverse sequences that it has not seen."""

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from calque.batch import Batch
from calque.data.collate import collate_pairs, collate_sources
from calque.model import ModelConfig, Seq2Seq, build
from calque.nn.objectives import likelihood
from calque.optim import AdamConfig, build_optimizer, learning_rate
from calque.search.beam import search
from calque.search.options import SearchConfig
from calque.text.source_ids import plain_sources
from calque.training.config import TrainConfig
from calque.training.state import Position
from calque.training.updates import updates

FIRST, NUM_SYMBOLS, SHORTEST, LONGEST = 4, 8, 2, 5
VOCAB_SIZE = FIRST + NUM_SYMBOLS
BATCH, NUM_UNSEEN = 64, 200

Sequence = tuple[int, ...]


def recurrent(kind: str, attention: str, **changes: Any) -> dict[str, Any]:
    """Return a recurrent model of one layer a side."""
    part = {"kind": kind, "layers": 1, "width": 64, "dropout": 0.0}
    return {"encoder": part, "decoder": part | {"attention": {"kind": attention}} | changes, "tie_embeddings": "none"}


def textbook() -> dict[str, Any]:
    """Return the model without attention: the final state is all that is handed over."""
    part = {"kind": "lstm", "layers": 1, "width": 128, "dropout": 0.0}
    decoder = part | {"attention": {"kind": "none"}, "bridge": "final"}
    return {"encoder": part | {"bidirectional": False}, "decoder": decoder, "tie_embeddings": "none"}


TRANSFORMER = {"kind": "transformer", "layers": 2, "width": 64, "heads": 4, "feed_forward": 128, "dropout": 0.0}
LSTM = {"kind": "lstm", "layers": 1, "width": 64, "dropout": 0.0}


def transformer(both: dict[str, Any], **decoder: Any) -> dict[str, Any]:
    """Return a Transformer with fields of both sides, and of the decoder."""
    return {"encoder": TRANSFORMER | both, "decoder": TRANSFORMER | both | decoder}


def positions(kind: str) -> dict[str, Any]:
    """Return a Transformer that is told positions in this way."""
    return transformer({"positions": {"kind": kind}})


LATER = {"norm_position": "post", "norm": "rms", "activation": "swiglu", "key_value_heads": 2}

# Model, updates, learning rate, share that must be right.
MODELS: dict[str, tuple[dict[str, Any], int, float, float]] = {
    "transformer": ({"encoder": TRANSFORMER, "decoder": TRANSFORMER}, 200, 0.004, 0.99),
    "transformer-ssru": (transformer({}, layers=1, mixer={"kind": "ssru"}), 300, 0.004, 0.99),
    "transformer-average": (transformer({}, mixer={"kind": "average"}), 300, 0.004, 0.99),
    "transformer-post-rms-swiglu": (transformer(LATER), 250, 0.004, 0.99),
    "transformer-learned": (positions("learned"), 250, 0.004, 0.99),
    "transformer-rotary": (positions("rotary"), 350, 0.004, 0.99),
    # Told distances alone, a Transformer needs longer to find out which place is which.
    "transformer-relative": (positions("relative"), 600, 0.004, 0.99),
    "transformer-alibi": (positions("alibi"), 600, 0.004, 0.99),
    "transformer-to-lstm": ({"encoder": TRANSFORMER, "decoder": LSTM}, 220, 0.004, 0.99),
    "lstm-to-transformer": ({"encoder": LSTM, "decoder": TRANSFORMER}, 220, 0.004, 0.99),
    "lstm-general": (recurrent("lstm", "general"), 220, 0.01, 0.99),
    "lstm-additive-fed": (recurrent("lstm", "additive", input_feeding=True), 220, 0.01, 0.99),
    "gru-dot": (recurrent("gru", "dot"), 220, 0.01, 0.95),
    "rnn-additive": (recurrent("rnn", "additive"), 220, 0.005, 0.99),
    "basic-lstm": (textbook(), 600, 0.005, 0.95),
}
FAST = ("transformer", "lstm-general")
TASKS: dict[str, Callable[[Sequence], Sequence]] = {"copy": lambda given: given, "reverse": lambda given: given[::-1]}
CASES = [
    pytest.param(name, task, marks=[] if name in FAST else [pytest.mark.slow], id=f"{name}-{task}")
    for name in MODELS
    for task in TASKS
]


def sequences(seed: int) -> Iterator[Sequence]:
    """Yield random sequences for ever."""
    draw = random.Random(seed)
    while True:
        yield tuple(draw.choices(range(FIRST, VOCAB_SIZE), k=draw.randint(SHORTEST, LONGEST)))


def unseen() -> set[Sequence]:
    """Return sequences to test on, long enough that they can be kept out of training without loss."""
    kept: set[Sequence] = set()
    for sequence in sequences(seed=1):
        if len(sequence) > SHORTEST:
            kept.add(sequence)
        if len(kept) == NUM_UNSEEN:
            return kept
    raise AssertionError


def batches(task: Callable[[Sequence], Sequence], without: set[Sequence], number: int) -> Iterator[list[Batch]]:
    """Yield updates of one piece each."""
    stream = (sequence for sequence in sequences(seed=2) if sequence not in without)
    for _ in range(number):
        drawn = [next(stream) for _ in range(BATCH)]
        yield [collate_pairs(plain_sources(drawn), [task(sequence) for sequence in drawn])]


def trained(section: dict[str, Any], stream: Iterator[list[Batch]], number: int, peak: float) -> Seq2Seq:
    """Build and train a model."""
    torch.manual_seed(3)
    torch.set_num_threads(1)
    model = build(ModelConfig.model_validate(section), VOCAB_SIZE, VOCAB_SIZE)
    optimizer = build_optimizer(AdamConfig(), model.parameters(), peak)
    config = TrainConfig(threads=1, lr=peak)

    def rate(step: int) -> float:
        return learning_rate("cosine", peak, 30, step, number)

    records = list(updates(model, optimizer, stream, likelihood, rate, config, Position()))
    assert [record.step for record in records] == list(range(1, number + 1))
    assert records[-1].loss < records[0].loss
    return model.eval()


@torch.inference_mode()
def share_right(model: Seq2Seq, task: Callable[[Sequence], Sequence], given: list[Sequence], beam: int) -> float:
    """Return the share of sequences whose output is right in every symbol."""
    source = collate_sources(plain_sources(given))
    found = search(model, source, source.mask.sum(dim=1), SearchConfig(beam=beam))
    outputs = [tuple(found.tokens[row, 0, : found.lengths[row, 0]].tolist()) for row in range(len(given))]
    return sum(output == task(sequence) for output, sequence in zip(outputs, given, strict=True)) / len(given)


@pytest.mark.parametrize(("name", "task"), CASES)
def test_it_learns(name: str, task: str) -> None:
    section, number, peak, bar = MODELS[name]
    held_out = unseen()
    model = trained(section, batches(TASKS[task], held_out, number), number, peak)
    for beam in (1, 3):
        assert share_right(model, TASKS[task], sorted(held_out), beam) >= bar
