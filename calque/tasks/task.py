"""The record of a task: reading, settings, metrics, and names of its sides.

Nothing heavy is imported here, so that `calque train --help` can list the tasks quickly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from calque.data.files.columns import Columns
    from calque.data.files.readers import Dataset
    from calque.data.survey import Survey

ReadData: TypeAlias = "Callable[[Sequence[str], Columns, Path | None], Dataset]"
ChooseModel: TypeAlias = "Callable[[Survey], tuple[str, str] | None]"
Settings: TypeAlias = Mapping[str, object]


def read_pairs(paths: Sequence[str], columns: Columns, spool: Path | None = None) -> Dataset:
    """Read pairs from TSV, CSV or JSON Lines, or from two plain files; pipes are copied into the folder `spool`."""
    from calque.data.files.readers import open_dataset

    return open_dataset(paths, columns, spool)


def reading(*usual: tuple[str | tuple[str, ...], str]) -> ReadData:
    """Return a reader that also knows the usual names of columns in a field: pairs of the sources and the target."""

    def read(paths: Sequence[str], columns: Columns, spool: Path | None = None) -> Dataset:
        from calque.data.files.columns import Columns
        from calque.data.files.readers import open_dataset

        named = [Columns(source=source, target=target) for source, target in usual]
        return open_dataset(paths, columns, spool, usual=named)

    return read


@dataclass(frozen=True)
class Labels:
    """Names for pages and cards: `source`, `reference` and `output` head the columns of examples."""

    source: str = "Source"
    reference: str = "Reference"
    output: str = "Output"


@dataclass(frozen=True)
class Task:
    """Describe a task.

    `name`: the value of `--task`. `metrics`: names of metrics (see `calque.metrics.named`); the first one decides which
    checkpoint is best. `data`, `text`, `model`, `train` and `search`: settings of these sections, which override the
    defaults from the data; `data_reason` and `reason` describe those of `data` and `text` when they are printed.
    `labels`: names for pages and cards. `has_languages`: whether the sides have languages that a user would name.
    `line_is_word`: whether each target is one word, written as symbols with spaces between them, so that WER is the
    share of wrong lines. `choose_model`: returns the name of the model that suits a data set, and the reason, or None
    for the usual choice. `read`: opens data files as a data set.
    `file` and `sha256`: name and hash of the file of a user's own task; empty for a task of calque.
    """

    name: str
    metrics: tuple[str, ...]
    data: Settings = field(default_factory=dict)
    text: Settings = field(default_factory=dict)
    model: Settings = field(default_factory=dict)
    train: Settings = field(default_factory=dict)
    search: Settings = field(default_factory=dict)
    reason: str = "text settings of the task"
    data_reason: str = "data settings of the task"
    labels: Labels = Labels()
    has_languages: bool = False
    line_is_word: bool = False
    choose_model: ChooseModel | None = None
    read: ReadData = read_pairs
    file: str = ""
    sha256: str = ""

    @property
    def reads_pairs(self) -> bool:
        """Return whether the task reads its data as pairs."""
        return self.read is read_pairs
