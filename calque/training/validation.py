"""Validation: the loss of the development set, and the task's metrics for its translations by the Predictor."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from calque import rows
from calque.batch import Batch
from calque.data.collate import collate_pairs
from calque.data.files.readers import Example, lines_named
from calque.errors import ResourceError
from calque.metrics.score import Metric
from calque.predict.predictor import Predictor
from calque.text.pair import TextPair
from calque.training.config import TrainConfig
from calque.training.gradients.forked import KILLED
from calque.training.gradients.here import arithmetic

BATCH_PAIRS = 64
NUM_SAMPLES = 5


@dataclass(frozen=True)
class Development:
    """The development set: examples, their batches, metrics, and the indices of examples to show.

    The first metric decides which checkpoint is best.
    """

    examples: Sequence[Example]
    batches: Sequence[Batch]
    metrics: Sequence[Metric]
    shown: Sequence[int]


@dataclass(frozen=True)
class Validation:
    """One validation: mean loss per target token, scores by name, and translations of the shown examples."""

    loss: float
    scores: dict[str, float]
    samples: list[dict[str, str]]


def development(examples: Sequence[Example], text: TextPair, metrics: Sequence[Metric], max_length: int) -> Development:
    """Encode a development set; pairs longer than the model's limit count for the metrics, but not for the loss."""
    with lines_named(examples):
        pairs = text.read_pairs([example.source for example in examples], [example.targets[0] for example in examples])
    fit = [(source, target) for source, target in pairs if max(len(source), len(target)) < max_length]
    fit.sort(key=lambda pair: (len(pair[1]), len(pair[0])))
    groups = [fit[start : start + BATCH_PAIRS] for start in range(0, len(fit), BATCH_PAIRS)]
    size = text.target.vocab_size
    batches = [collate_pairs([pair[0] for pair in group], [pair[1] for pair in group], size) for group in groups]
    return Development(examples, batches, metrics, _typical(examples))


def validate(predictor: Predictor, dev: Development, config: TrainConfig) -> Validation:
    """Score the model of `predictor`, which searches in fp32, as after training.

    Raises ResourceError if a process of the search was killed.
    """
    try:
        searching = predictor if config.parallel == "processes" else replace(predictor, processes=1)
        outputs = searching.best([example.source for example in dev.examples])
    except ResourceError as error:
        raise ResourceError(f"a process that translated for a validation was killed. {KILLED}") from error
    references = [example.targets for example in dev.examples]
    scores = {metric.name: metric.score(outputs, references).value for metric in dev.metrics}
    samples = [
        {"source": dev.examples[number].source, "reference": references[number][0], "output": outputs[number]}
        for number in dev.shown
    ]
    with arithmetic(config):
        loss = _loss(predictor, dev.batches, config.device)
    return Validation(loss, scores, samples)


@torch.inference_mode()
def _loss(predictor: Predictor, batches: Sequence[Batch], device: str) -> float:
    model = predictor.model.eval()
    total, tokens = 0.0, 0
    for batch in batches:
        total += float(model.losses(rows.to(batch, device)).sum())
        tokens += int(batch.target.mask.sum())
    return total / max(1, tokens)


def _typical(examples: Sequence[Example]) -> list[int]:
    """Return the indices of examples to show: of medium length, spread over the set."""
    by_length = sorted(range(len(examples)), key=lambda number: len(examples[number].source))
    middle = by_length[len(by_length) // 4 : max(len(by_length) // 4 + NUM_SAMPLES, 3 * len(by_length) // 4)]
    step = max(1, len(middle) // NUM_SAMPLES)
    return sorted(middle[::step][:NUM_SAMPLES])
