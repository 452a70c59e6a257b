"""The Predictor: from strings to strings. Commands, validation and Python all use it.

parse → tokenize → sort by length → batch → search → detokenize → restore the order.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

import torch
from pydantic import ValidationError
from torch import nn

from calque import rows
from calque.data.collate import collate_pairs
from calque.engines.choice import Opened, check_engine, choose_engine
from calque.engines.eager import Eager
from calque.engines.engine import Engine
from calque.errors import DataError, UsageError
from calque.folder.model_file import open_model
from calque.folder.recipe_file import first_line, read_sections
from calque.model import ModelConfig, Seq2Seq
from calque.predict.reader import Reader, TextReader, batches_of
from calque.predict.texts import Line, checked_lines, parse_lines
from calque.predict.workers import WORTH_SECONDS, in_main_thread, search_in_processes
from calque.predict.writer import EMPTY, Answer, AttentionTable, Writer, combined
from calque.search.lengths import too_long_a_search
from calque.search.options import SearchConfig
from calque.system.forks import can_fork
from calque.system.machine import Device, default_device
from calque.system.processes import one_thread
from calque.tasks.kinds import TaskConfig
from calque.text.graph.layout import SourceError
from calque.text.inputs import InputLine
from calque.text.pair import TextPair
from calque.text.too_long import TooLong, checked_too_long


@dataclass(frozen=True)
class Answered:
    """The n-best `answers` to each of some `lines`; `long_lines` counts the lines that are too long."""

    lines: list[InputLine]
    answers: list[list[Answer]]
    long_lines: int = 0


@dataclass(frozen=True, eq=False, repr=False)
class Predictor:
    """A trained model, or an ensemble, that answers lines of text.

    A Predictor never changes, so threads may share it; `dataclasses.replace` and `with_search` return changed copies.
    `reader` converts lines to sources, `engine` searches with the weights of `network`, `writer` converts hypotheses to
    answers. `processes` is the maximum number of processes on the CPU, each of which uses one thread; they are used if
    that is faster. 0 is the number of torch's threads; 1 stays in this process and uses torch's threads.
    """

    reader: Reader[Any]  # of SourceIds, or of SharedSource for an ensemble: only the reader uses them
    engine: Engine
    writer: Writer
    options: SearchConfig
    task: TaskConfig
    network: nn.Module
    engine_said: str = "eager"
    processes: int = 0

    # A str is also an iterable of str, but it is one text.
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, text: Line, tag: str = "", *, beam: int | None = None, n_best: None = None, batch_size: int = 0
    ) -> str: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, text: Line, tag: str = "", *, beam: int | None = None, n_best: int, batch_size: int = 0
    ) -> str | list[str]: ...
    @overload
    def __call__(
        self, text: Iterable[Line], tag: str = "", *, beam: int | None = None, n_best: None = None, batch_size: int = 0
    ) -> list[str]: ...
    @overload
    def __call__(
        self, text: Iterable[Line], tag: str = "", *, beam: int | None = None, n_best: int, batch_size: int = 0
    ) -> list[str] | list[list[str]]: ...
    def __call__(
        self,
        text: Line | Iterable[Line],
        tag: str = "",
        *,
        beam: int | None = None,
        n_best: int | None = None,
        batch_size: int = 0,
    ) -> str | list[str] | list[list[str]]:
        """Answer one text with a text, and any iterable of texts with a list.

        With `n_best` above 1 each text is answered with a list of texts, best first. `tag` is the tag of all texts, for
        a model with tags. Several sources are one text with tabs between them, or a dictionary with their names.
        """
        texts = [text] if isinstance(text, str | Mapping) else text
        found = self.answers(texts, batch_size, tag=tag, beam=beam, n_best=n_best)
        best = [answers[0].text for answers in found]
        ranked = [[answer.text for answer in answers] for answers in found]
        if isinstance(text, str | Mapping):
            return best[0] if n_best in (None, 1) else ranked[0]
        return best if n_best in (None, 1) else ranked

    def best(self, lines: Iterable[Line], batch_size: int = 0) -> list[str]:
        """Return the best answer to each line; SourceError with its number for one that the model cannot read."""
        return [answers[0].text for answers in self.run(lines, batch_size).answers]

    def answers(
        self,
        texts: Iterable[Line],
        batch_size: int = 0,
        *,
        tag: str = "",
        beam: int | None = None,
        n_best: int | None = None,
    ) -> list[list[Answer]]:
        """Return the n-best answers to each of several texts, in their order; an empty text gets one empty answer.

        `batch_size` 0 chooses by length. Raises DataError with the position of a text that the model cannot read.
        """
        try:
            return self.with_search(beam, n_best).run(texts, batch_size, tag).answers
        except SourceError as error:
            raise DataError(error.message, f"text {error.number + 1}") from None

    def run(self, texts: Iterable[Line], batch_size: int = 0, tag: str = "") -> Answered:
        """Answer lines; raise SourceError with the number, from 0, of a line that the model cannot read."""
        lines = parse_lines(checked_lines(texts), self.reader.text, tag)
        asked = [number for number, line in enumerate(lines) if not line.is_blank]
        try:
            read = self.reader.read([lines[number] for number in asked])
        except SourceError as error:
            raise SourceError(error.message, asked[error.number]) from None
        parts = [part for own in read for part in own]
        found: list[list[Answer]] = [[] for _ in parts]
        batches = list(batches_of([len(part) + 1 for part in parts], batch_size, self.options))
        device = self.device
        with self._searching(device) as processes:
            start = time.monotonic()
            for number, batch in enumerate(batches, start=1):
                batch_of = self.reader.collate([parts[place] for place in batch], device)
                hypotheses = self.engine(batch_of.record, batch_of.lengths, batch_of.prefixes, self.options)
                for place, answers in zip(batch, self.writer.write(hypotheses, batch_of.sources), strict=True):
                    found[place] = answers
                left = batches[number:]
                # The first batch has the longest lines, so every other batch takes at most about as long.
                if processes > 1 and number == 1 and (time.monotonic() - start) * len(left) > WORTH_SECONDS:
                    sources = [[parts[place] for place in batch] for batch in left]
                    for batch, searched in zip(left, search_in_processes(self, sources, processes), strict=True):
                        for place, answers in zip(batch, searched, strict=True):
                            found[place] = answers
                    break
        results, ready = [[EMPTY] for _ in lines], iter(found)
        for number, own in zip(asked, read, strict=True):
            results[number] = combined([next(ready) for _ in own], self.reader.too_long)
        return Answered(lines, results, sum(not self.reader.is_whole(own) for own in read))

    def attention(self, text: Line, tag: str = "", *, beam: int | None = None) -> AttentionTable | None:
        """Answer one text and return the decoder's attention; None for a model without attention."""
        if not isinstance(self.network, Seq2Seq):
            # The members of an ensemble have different source tokens.
            return None
        (line,) = parse_lines(checked_lines([text]), self.text, tag)
        (source,) = self.text.read_lines([line])
        target = self.text.target_of(self(text, tag, beam=beam), source)
        batch = collate_pairs([source], [target], self.text.target.vocab_size)
        with _evaluation(self.network):
            weights = self.network.attention(rows.to(batch, self.device))
        if weights is None:
            return None
        shown = [*self.text.source.pieces(source.tokens), "</s>"]
        return AttentionTable(shown, [*self.text.target_pieces(target, source), "</s>"], weights[0].float().tolist())

    def with_search(self, beam: int | None = None, n_best: int | None = None) -> "Predictor":
        """Return the Predictor with another beam or number of outputs; without `beam` the beam grows to `n_best`."""
        return self if beam is None and n_best is None else replace(self, options=self.options.widened(beam, n_best))

    def with_engine(self, engine: Engine, said: str) -> "Predictor":
        """Return the Predictor with another engine over the same weights; `said` describes it."""
        return replace(self, engine=engine, engine_said=said)

    @property
    def text(self) -> TextPair:
        """Return the text side, of the first member for an ensemble."""
        return self.reader.text

    @property
    def model(self) -> Seq2Seq:
        """Return the model; UsageError for an ensemble, which has several."""
        if not isinstance(self.network, Seq2Seq):
            raise UsageError("an ensemble is not a single model; its models are network.members")
        return self.network

    @property
    def max_length(self) -> int:
        """Return the longest source, in tokens with </s>, that is answered as a whole."""
        return self.reader.max_length

    @property
    def device(self) -> torch.device:
        """Return the device of the weights, which every search uses."""
        return next(self.network.parameters()).device

    def __repr__(self) -> str:
        """Return task, size, engine and search settings in one line."""
        count = sum(parameter.numel() for parameter in self.network.parameters())
        languages = f"{self.task.source_language or '?'} → {self.task.target_language or '?'}"
        engine = self.engine_said.split(":")[0]
        what = f"{self.task.kind}, {languages}, {count:,} parameters on {self.device}"
        return f"<Predictor: {what}, engine {engine}, beam {self.options.beam}, n_best {self.options.n_best}>"

    @contextmanager
    def _searching(self, device: torch.device) -> Iterator[int]:
        """Enter evaluation, with one thread if processes are used; yield the maximum number of processes."""
        is_alone = self.processes == 1 or device.type != "cpu" or self.engine.owns_threads or not in_main_thread()
        processes = 1 if is_alone or not can_fork() else self.processes or torch.get_num_threads()
        with _evaluation(self.network), nullcontext() if is_alone else one_thread():
            yield processes


@contextmanager
def _evaluation(network: nn.Module) -> Iterator[None]:
    """Set a model to evaluation without gradients, and restore its mode afterwards."""
    was_training = network.training
    # Visiting all modules would take as long as a short sentence.
    if was_training:
        network.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        if was_training:
            network.train()


def single(
    model: Seq2Seq,
    text: TextPair,
    options: SearchConfig,
    task: TaskConfig,
    max_length: int,
    too_long: TooLong = "split",
) -> Predictor:
    """Return the Predictor of one model with the eager engine; the other arguments are those of `TextReader`."""
    return Predictor(TextReader(text, max_length, too_long), Eager(model), Writer(text), options, task, model)


def load(
    folder: str | Path,
    options: SearchConfig | None = None,
    device: Device | None = None,
    engine: str = "eager",
    beam: int | None = None,
    n_best: int | None = None,
) -> Predictor:
    """Open a model folder; UsageError of one line if it is missing, damaged, or not a model.

    `options` replace the search settings that the model was trained with, `beam` and `n_best` replace two of them;
    `device` None is the GPU if there is one; `engine` is the name of the engine.
    """
    check_engine(engine)
    folder = Path(folder)
    sections = read_sections(folder)
    try:
        config = ModelConfig.model_validate(sections["model"])
        task = TaskConfig.model_validate(sections["task"])
        stored = SearchConfig.model_validate(sections["search"])
        max_length = int(sections["data"]["max_length"])
        too_long = checked_too_long(sections["data"].get("too_long", "split"))
    except (ValidationError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{folder / 'recipe.json'} is not a recipe of this version: {first_line(error)}") from error
    # The caller may ask for any search, but the folder may come from anybody.
    problem = too_long_a_search(stored if beam is None else stored.model_copy(update={"beam": 1}))
    if options is None and problem:
        raise UsageError(f"{folder / 'recipe.json'}: {problem}")
    if not (folder / "model.safetensors").is_file():
        raise UsageError(f"{folder} has no model.safetensors yet: its training stopped before the first validation")
    options = (options or stored).widened(beam, n_best)
    text = TextPair.load(folder / "text")
    kinds = text.layout.num_edge_kinds
    if getattr(config.encoder, "edge_kinds", kinds) != kinds:
        raise UsageError(f"{folder}: text and recipe do not belong together, the kinds of edges differ")
    model = open_model(folder, config, text.source.vocab_size, text.target.vocab_size)
    model = model.eval().to(device or default_device())
    return single(model, text, options, task, max_length, too_long).with_engine(
        *choose_engine(engine, Opened(model, config, folder))
    )
