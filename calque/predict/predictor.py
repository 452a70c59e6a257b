"""The Predictor: strings in, strings out. Every score and every answer goes through it.

normalise → tokenize → sort by length → batch → search → detokenize → restore the order.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, overload

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from calque import rows
from calque.data.collate import collate_pairs, collate_sources
from calque.engines.choice import Opened, check_engine, choose_engine
from calque.engines.eager import Eager, Engine
from calque.errors import UsageError
from calque.folder.model_file import open_model
from calque.folder.recipe_file import first_line, read_sections
from calque.ids import PAD
from calque.model import ModelConfig, Seq2Seq
from calque.search.hypotheses import Hypotheses
from calque.search.options import SearchConfig
from calque.system.machine import Device, default_device
from calque.tasks.kinds import TaskConfig
from calque.text.graph.layout import SourceError
from calque.text.pair import TextPair
from calque.text.source import SourceIds

# Source cells of one batch, padding included: enough rows to fill the products, few enough to stay in cache.
BATCH_CELLS = 2048
MAX_BATCH = 128

Line: TypeAlias = str | Mapping[str, Any]


@dataclass(frozen=True)
class Answer:
    """Hold one output of one line: its text, the score that ranked it, and the plain sum of log-probabilities."""

    text: str
    score: float
    log_prob: float


@dataclass(frozen=True)
class Attention:
    """Hold where the decoder looked: pieces of both sides and weights [T, S] as nested lists."""

    source: list[str]
    target: list[str]
    weights: list[list[float]]


class Predictor:
    """Answer lines of text with a trained model.

    `max_length` is the longest source, in tokens with </s>, that the model was trained on: a longer line is answered
    in parts, and `long_lines` counts how many were. `engine` searches, `engine_said` tells which it is;
    `workers`, where there are any, do so in other processes.
    """

    def __init__(
        self, model: Seq2Seq, text: TextPair, options: SearchConfig, task: TaskConfig, max_length: int
    ) -> None:
        self.model = model
        self.engine: Engine = Eager(model)
        self.engine_said = "eager"
        self.workers: Callable[[Sequence[list[Any]]], Iterator[list[list[Answer]]]] | None = None
        self.text = text
        self.options = options
        self.task = task
        self.max_length = max_length
        self.long_lines = 0

    @overload
    def __call__(self, text: Line, tag: str = "") -> str: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, text: Sequence[Line], tag: str = "") -> list[str]: ...
    def __call__(self, text: Line | Sequence[Line], tag: str = "") -> str | list[str]:
        """Answer one text with a text, a list with a list; `tag` is that of all where the model reads one.

        Several sources are a text with tabs between, or a dictionary by their names, which may hold the tag.
        """
        if isinstance(text, str | Mapping):
            return self.best([self.text.inputs.to_line(text, tag)])[0]
        return self.best([self.text.inputs.to_line(one, tag) for one in text])

    def best(self, lines: Sequence[str], batch_size: int = 0) -> list[str]:
        """Return the best answer to each line."""
        return [answers[0].text for answers in self.answers(lines, batch_size)]

    def answers(
        self, lines: Sequence[str], batch_size: int = 0, done: Callable[[int], None] | None = None
    ) -> list[list[Answer]]:
        """Return the n-best answers to each line, in the order of the lines; a blank line gets a blank answer.

        `batch_size` 0 takes as many lines at once as suits them; `done` is told how many more lines are answered.
        SourceError, with its number, for a line that the model cannot read, before any is answered.
        """
        results: list[list[Answer]] = [[Answer("", 0.0, 0.0)] for _ in lines]
        asked = [number for number, line in enumerate(lines) if not self.text.inputs.is_blank(line)]
        parts, owners = [], []
        try:
            read = self._read([lines[number] for number in asked])
        except SourceError as error:
            raise SourceError(error.message, asked[error.number]) from None
        if done:
            done(len(lines) - len(asked))
        for number, cut in zip(asked, read, strict=True):
            self.long_lines += len(cut) > 1
            parts.extend(cut)
            owners.extend([number] * len(cut))
        left = Counter(owners)

        def searched(batch: list[int]) -> None:
            left.subtract(owners[part] for part in batch)
            if done:
                done(sum(left[owner] == 0 for owner in {owners[part] for part in batch}))

        found = self._search_all(parts, batch_size, searched)
        whole: dict[int, list[list[Answer]]] = {}
        for number, answers in zip(owners, found, strict=True):
            whole.setdefault(number, []).append(answers)
        for number, answered in whole.items():
            results[number] = answered[0] if len(answered) == 1 else [_joined(answered)]
        return results

    def attention(self, line: str) -> Attention | None:
        """Answer a line and tell where the decoder looked while it did; None for a model without attention."""
        source, target = self.text.read_pairs([line], [self(line)])[0]
        batch = collate_pairs([source], [target], self.text.target.vocab_size)
        with self._evaluation():
            weights = self.model.attention(rows.to(batch, self.device))
        if weights is None:
            return None
        shown = [*self.text.source.pieces(source.tokens), "</s>"]
        return Attention(shown, [*self.text.target_pieces(target, source), "</s>"], weights[0].float().tolist())

    def _read(self, lines: list[str]) -> list[list[Any]]:
        """Return each line as the model reads it, in parts where it is too long."""
        return [_parts(source, self.max_length - 1) for source in self.text.read_sources(lines)]

    def _collate(self, sources: list[Any]) -> tuple[Any, list[SourceIds]]:
        """Return the record that the engine reads, and for each source what an answer is written with."""
        return collate_sources(sources, self.text.target.vocab_size), sources

    def _search_all(self, sources: list[Any], batch_size: int, done: Callable[[list[int]], None]) -> list[list[Answer]]:
        found: list[list[Answer]] = [[] for _ in sources]
        batches = list(_batches([len(source) + 1 for source in sources], batch_size))
        answered = (self.workers or self.search_here)([[sources[number] for number in batch] for batch in batches])
        for batch, answers in zip(batches, answered, strict=True):
            for number, own in zip(batch, answers, strict=True):
                found[number] = own
            done(batch)
        return found

    def search_here(self, batches: Sequence[list[Any]]) -> Iterator[list[list[Answer]]]:
        """Yield the answers to each batch of sources, searched in this process."""
        for sources in batches:
            with self._evaluation():
                answers = self._search(sources)
            yield answers

    def _search(self, sources: list[Any]) -> list[list[Answer]]:
        record, answered = self._collate(sources)
        lengths = torch.tensor([len(source) + 1 for source in answered])
        prefixes = _padded([source.prefix for source in answered])
        record, lengths, prefixes = rows.to((record, lengths, prefixes), self.device)
        return self._to_text(self.engine(record, lengths, prefixes, self.options), answered)

    def _to_text(self, hypotheses: Hypotheses, sources: list[SourceIds]) -> list[list[Answer]]:
        tokens, lengths = hypotheses.tokens.tolist(), hypotheses.lengths.tolist()
        scores, log_probs = hypotheses.scores.tolist(), hypotheses.log_probs.tolist()
        answers = []
        for row in range(len(tokens)):
            possible = [rank for rank in range(len(scores[row])) if rank == 0 or scores[row][rank] > float("-inf")]
            texts = [self.text.write_target(tokens[row][rank][: lengths[row][rank]], sources[row]) for rank in possible]
            ranked = zip(texts, possible, strict=True)
            answers.append([Answer(one_line(text), scores[row][rank], log_probs[row][rank]) for text, rank in ranked])
        return answers

    @property
    def device(self) -> torch.device:
        """Return where the model lies, and with it every tensor of a search."""
        return next(self.model.parameters()).device

    def _evaluation(self) -> "_Evaluation":
        return _Evaluation(self.network)

    @property
    def network(self) -> nn.Module:
        """Return all that scores, to be switched to evaluation."""
        return self.model


class _Evaluation:
    """Switch a model to evaluation without gradients, and back to what it was."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.was_training = model, model.training
        self.no_grad = torch.inference_mode()

    def __enter__(self) -> None:
        # Going through all modules would take as long as a short sentence.
        if self.was_training:
            self.model.eval()
        self.no_grad.__enter__()

    def __exit__(self, *error: Any) -> None:
        self.no_grad.__exit__(*error)
        if self.was_training:
            self.model.train()


def load(
    folder: str | Path, options: SearchConfig | None = None, device: Device | None = None, engine: str = "eager"
) -> Predictor:
    """Open a model folder; UsageError in one line for one that is missing, is no model, or is damaged.

    `options` replace the search settings that the model was trained with; `device` None takes the GPU if there is one;
    `engine` searches.
    """
    check_engine(engine)
    folder = Path(folder)
    sections = read_sections(folder)
    try:
        config = ModelConfig.model_validate(sections["model"])
        task = TaskConfig.model_validate(sections["task"])
        options = options or SearchConfig.model_validate(sections["search"])
        max_length = int(sections["data"]["max_length"])
    except (ValidationError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{folder / 'recipe.json'} is no recipe of this version: {first_line(error)}") from error
    if not (folder / "model.safetensors").is_file():
        raise UsageError(f"{folder} has no model.safetensors yet: its training stopped before the first validation")
    text = TextPair.load(folder / "text")
    kinds = text.layout.num_edge_kinds
    if getattr(config.encoder, "edge_kinds", kinds) != kinds:
        raise UsageError(f"{folder}: text and recipe do not belong together, the kinds of edges differ")
    model = open_model(folder, config, text.source.vocab_size, text.target.vocab_size)
    predictor = Predictor(model.eval().to(device or default_device()), text, options, task, max_length)
    predictor.engine, predictor.engine_said = choose_engine(engine, Opened(model, config, folder))
    return predictor


def one_line(text: str) -> str:
    """Return `text` with whatever any reader takes for the end of a line, or of a column, as a blank."""
    return " ".join(text.splitlines()).replace("\t", " ")


def _parts(source: SourceIds, longest: int) -> list[SourceIds]:
    """Cut a source that is too long for the model into even parts; graphs and several sources come back whole."""
    if len(source) <= longest or not source.is_cuttable:
        return [source]
    total, most = len(source) - source.kept, max(1, longest - source.kept)
    size = -(-total // -(-total // most))
    return [source.part(start, start + size) for start in range(0, total, size)]


def _padded(prefixes: Sequence[Sequence[int]]) -> Tensor:
    longest = max(map(len, prefixes))
    return torch.tensor([[*prefix, *[PAD] * (longest - len(prefix))] for prefix in prefixes], dtype=torch.int64)


def _joined(answered: list[list[Answer]]) -> Answer:
    best = [answers[0] for answers in answered]
    total = sum(answer.log_prob for answer in best)
    return Answer(" ".join(answer.text for answer in best), sum(answer.score for answer in best) / len(best), total)


def _batches(lengths: list[int], batch_size: int) -> Iterator[list[int]]:
    """Yield batches of line numbers, longest lines first, so that memory shows its peak at the start."""
    order = sorted(range(len(lengths)), key=lambda number: -lengths[number])
    start = 0
    while start < len(order):
        size = batch_size or max(1, min(MAX_BATCH, BATCH_CELLS // lengths[order[start]]))
        yield order[start : start + size]
        start += size
