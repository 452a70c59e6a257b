"""Several models as one Predictor: each line is read by every member, and their distributions are averaged.

A line that is too long for a member is split as text, at the space nearest to its middle, so that all members answer
the same parts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from calque.data.collate import collate_sources
from calque.engines.eager import Eager
from calque.engines.ensemble import COMBINATIONS, Ensemble, Space
from calque.errors import UsageError
from calque.predict import predictor as opening
from calque.predict.predictor import Predictor
from calque.predict.reader import SearchBatch, on_device
from calque.predict.writer import Writer
from calque.search.options import SearchConfig
from calque.system.machine import Device
from calque.text.inputs import InputLine
from calque.text.pair import TextPair
from calque.text.sharing import SharedSource, read_shared, require_one_target
from calque.text.too_long import TooLong


@dataclass(frozen=True)
class SharedReader:
    """Read lines for several models; `longest` are the longest sources in their training, in tokens without </s>."""

    texts: tuple[TextPair, ...]
    longest: tuple[int, ...]

    @property
    def text(self) -> TextPair:
        """Return the text side of the first member; all members have its target vocabulary."""
        return self.texts[0]

    @property
    def max_length(self) -> int:
        """Return the longest source, in tokens with </s>, that every member can read."""
        return min(self.longest) + 1

    @property
    def too_long(self) -> TooLong:
        """Return what happens to longer lines: they are split, as the members count tokens differently."""
        return "split"

    def read(self, lines: Sequence[InputLine]) -> list[list[SharedSource]]:
        """Return each line in parts that every member can read."""
        return [self._cut(line, source) for line, source in zip(lines, read_shared(self.texts, lines), strict=True)]

    def is_whole(self, sources: Sequence[SharedSource]) -> bool:
        """Return whether the sources of a line are the whole line, in one source."""
        return len(sources) == 1

    def collate(self, sources: Sequence[SharedSource], device: torch.device) -> SearchBatch:
        """Return sources as one batch, a record for each member."""
        size = self.text.target.vocab_size
        records = tuple(collate_sources(own, size) for own in zip(*(source.members for source in sources), strict=True))
        return on_device(records, [source.answered for source in sources], device)

    def _cut(self, line: InputLine, source: SharedSource) -> list[SharedSource]:
        """Return a line, split into halves until every member can read each part."""
        fits = all(len(own) <= longest for own, longest in zip(source.members, self.longest, strict=True))
        if fits or not all(own.is_cuttable for own in source.members):
            return [source]
        (text,) = line.texts
        parts = [InputLine((half,), line.tag) for half in in_two(text)]
        if len(parts) == 1:
            return [source]
        read = zip(parts, read_shared(self.texts, parts), strict=True)
        return [part for half, own in read for part in self._cut(half, own)]


def ensemble(members: Sequence[Predictor], names: Sequence[str], space: Space) -> Predictor:
    """Return models with the same target vocabulary as one Predictor; UsageError names two that differ.

    Search settings and task are those of the first.
    """
    texts = tuple(member.text for member in members)
    require_one_target(texts, names)
    network = Ensemble([member.model for member in members], space).eval()
    reader = SharedReader(texts, tuple(member.max_length - 1 for member in members))
    first = members[0]
    return Predictor(reader, Eager(network), Writer(texts[0]), first.options, first.task, network)


def in_two(text: str) -> list[str]:
    """Return the halves of a text, split at the space nearest to its middle, or in the middle if there is no space."""
    text = text.strip()
    middle = len(text) // 2
    places = [place for place in (text.rfind(" ", 0, middle), text.find(" ", middle)) if place > 0]
    place = min(places, key=lambda place: abs(place - middle), default=middle)
    return [half for half in (text[:place].strip(), text[place:].strip()) if half]


def load(
    folder: str | Path | Sequence[str | Path],
    options: SearchConfig | None = None,
    device: Device | None = None,
    space: Space = "prob",
    engine: str = "auto",
    beam: int | None = None,
    n_best: int | None = None,
) -> Predictor:
    """Open a model folder, or several as an ensemble; UsageError of one line for a folder that is not a model.

    `options` replace the search settings of the (first) model, `beam` and `n_best` two of them; `device` None takes the
    GPU if there is one; `space`: average the members' probabilities ("prob") or their logarithms ("log"); `engine`:
    auto, eager, fused, compiled, int8, bf16 or ctranslate2; an ensemble supports only eager.
    """
    if isinstance(folder, str | Path):
        return opening.load(folder, options, device, engine, beam, n_best)
    if not folder:
        raise UsageError("no model folder: an ensemble needs at least one")
    if space not in COMBINATIONS:
        raise UsageError(f"no ensemble space {space!r}; there are {', '.join(COMBINATIONS)}")
    if len(folder) == 1:
        return opening.load(folder[0], options, device, engine, beam, n_best)
    if engine not in ("auto", "eager"):
        raise UsageError(f"engine {engine}: an ensemble supports only eager, which auto chooses")
    members = [opening.load(one, options, device) for one in folder]
    return ensemble(members, [str(one) for one in folder], space).with_search(beam, n_best)
