"""Several models as one Predictor: each line is read by every member, and their words are weighed together.

A line that is too long for a member is cut as text, at the blank next to its middle, so that all answer the same parts.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from calque.data.collate import collate_sources
from calque.engines.eager import Eager
from calque.engines.ensemble import COMBINATIONS, Ensemble, Space
from calque.errors import UsageError
from calque.predict import predictor as opening
from calque.predict.predictor import Attention, Predictor
from calque.search.options import SearchConfig
from calque.system.machine import Device
from calque.text.inputs import BETWEEN
from calque.text.sharing import SharedSource, read_shared, require_one_target
from calque.text.source import SourceIds


class EnsemblePredictor(Predictor):
    """Answer lines of text with several models; what is not of a member (search, task) is the first one's."""

    def __init__(self, members: Sequence[Predictor], names: Sequence[str], space: Space) -> None:
        """Take models of one target vocabulary; UsageError naming two that differ."""
        self.texts = [member.text for member in members]
        require_one_target(self.texts, names)
        first = members[0]
        super().__init__(first.model, first.text, first.options, first.task, first.max_length)
        self.ensemble = Ensemble([member.model for member in members], space).eval()
        self.engine = Eager(self.ensemble)
        self.longest = [member.max_length - 1 for member in members]

    def attention(self, line: str) -> Attention | None:
        """Return None: members look at tokens of their own."""
        return None

    @property
    def network(self) -> nn.Module:
        """Return the members."""
        return self.ensemble

    def _read(self, lines: list[str]) -> list[list[Any]]:
        read = read_shared(self.texts, lines)
        return [self._cut(line, source) for line, source in zip(lines, read, strict=True)]

    def _collate(self, sources: list[Any]) -> tuple[Any, list[SourceIds]]:
        size = self.ensemble.vocab_size
        records = tuple(collate_sources(own, size) for own in zip(*(source.members for source in sources), strict=True))
        return records, [source.answered for source in sources]

    def _cut(self, line: str, source: SharedSource) -> list[SharedSource]:
        """Return a line's halves, and theirs, until every member can read each."""
        fits = all(len(own) <= longest for own, longest in zip(source.members, self.longest, strict=True))
        if fits or not all(own.is_cuttable for own in source.members):
            return [source]
        (text,) = self.text.inputs.texts(line)
        halves, tag = in_two(text), self.text.inputs.tag_of(line)
        if len(halves) == 1:
            return [source]
        parts = [f"{tag}{BETWEEN}{half}" if tag else half for half in halves]
        return [
            part
            for half, read in zip(parts, read_shared(self.texts, parts), strict=True)
            for part in self._cut(half, read)
        ]


def in_two(text: str) -> list[str]:
    """Return the halves of a text, parted at the blank nearest to its middle, or in the middle where there is none."""
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
) -> Predictor:
    """Open a model folder, or several as an ensemble; UsageError in one line for one that is no model.

    `options` replace the search settings of the (first) model; `device` None takes the GPU if there is one; `space`:
    average the members' probabilities ("prob") or their logarithms ("log"); `engine`: auto, eager, fused,
    compiled, int8, bf16 or ctranslate2, of which an ensemble has eager alone.
    """
    if isinstance(folder, str | Path):
        return opening.load(folder, options, device, engine)
    if not folder:
        raise UsageError("no model folder: an ensemble needs at least one")
    if space not in COMBINATIONS:
        raise UsageError(f"no ensemble space {space!r}; there are {', '.join(COMBINATIONS)}")
    if len(folder) == 1:
        return opening.load(folder[0], options, device, engine)
    if engine not in ("auto", "eager"):
        raise UsageError(f"engine {engine}: several models are searched by eager; auto chooses it")
    members = [opening.load(one, options, device) for one in folder]
    return EnsemblePredictor(members, [str(one) for one in folder], space)
