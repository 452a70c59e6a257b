"""Extras of a source as one list: an extra of one's own travels from text to store to batch, in parts and joined."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from calque.data.collate import collate, collate_sources
from calque.data.store.token_store import TokenStore, build_store
from calque.ids import PAD
from calque.text import extras
from calque.text.extras import EXTRAS, PerToken
from calque.text.source import SourceIds


@dataclass(frozen=True)
class CasedIds(SourceIds):
    """A source that notes for each token whether it has a capital letter."""

    capitals: list[int] | None = None


@dataclass(frozen=True)
class Vocabulary:
    """A number of ids."""

    vocab_size: int = 500


class Cased:
    """A text side whose tokens are letters."""

    source = target = Vocabulary()
    extras = ("capitals",)

    def read_pairs(self, sources: Sequence[str], targets: Sequence[str]) -> list[tuple[SourceIds, list[int]]]:
        """Return each source and the ids of its target."""
        return [(read(source), list(target.encode())) for source, target in zip(sources, targets, strict=True)]


def read(text: str) -> CasedIds:
    """Return a text as letters."""
    return CasedIds(list(text.lower().encode()), capitals=[1 + letter.isupper() for letter in text])


@pytest.fixture(autouse=True)
def _capitals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add the extra to the list: the one place; a batch shows it in a field that the model has."""
    monkeypatch.setattr(extras, "EXTRAS", (*EXTRAS, PerToken("capitals", field="segment", fill=7)))


def test_an_extra_travels_from_text_to_store_to_batch(tmp_path: Path) -> None:
    """Read the numbers back from a store on disk as they were, and padded in a batch."""
    pairs = [("aBc", "x"), ("D", "yz")]
    build_store(tmp_path / "store", pairs, Cased(), 20)
    store = TokenStore.open(tmp_path / "store")
    assert store.record.extras == {"capitals": 4}
    for batch in (collate(store, np.array([0, 1])).source, collate_sources([read(source) for source, _ in pairs])):
        assert batch.segment is not None
        assert batch.segment.tolist() == [[1, 2, 1, PAD], [2, PAD, PAD, PAD]]
        assert (batch.copy_ids, batch.edges) == (None, None)


def test_an_extra_follows_frames_and_parts() -> None:
    """Fill what stands around a source, and cut with its tokens."""
    framed = read("aBcD").framed([9], [8, 8])
    assert framed.capitals == [7, 1, 2, 1, 2, 7, 7]
    part = framed.part(1, 3)
    assert isinstance(part, CasedIds)
    assert part.tokens == [9, *b"bc", 8, 8]
    assert part.capitals == [7, 2, 1, 7, 7]


def test_an_extra_that_has_no_parts_keeps_its_source_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the extra say whether a part of a source with it is a source."""
    assert read("aB").is_cuttable
    monkeypatch.setattr(extras, "EXTRAS", (*EXTRAS, PerToken("capitals", is_cuttable=False)))
    assert not read("aB").is_cuttable


def test_an_extra_of_several_sources_is_joined() -> None:
    """Fill the token between two sources."""
    first, second = read("aB"), read("C")
    (own, _), *_ = [one for one in first.extras if one[0].name == "capitals"]
    assert own.joined([first.capitals, second.capitals], [0, 3, 4]) == [1, 2, 7, 2]
