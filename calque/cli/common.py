"""Functions that several commands share: columns, threads, the device of a model."""

import os
import sys
from collections.abc import Sequence

import torch

from calque.data.files.columns import Columns
from calque.errors import UsageError
from calque.predict.predictor import Predictor
from calque.recipe.layers import check_settings, flatten, read_settings, validate_section
from calque.recipe.rules import check_threads
from calque.system.machine import gpu_name, place
from calque.tasks.from_file import find_task


def data_settings(settings: Sequence[str]) -> tuple[Columns, str | None]:
    """Return the columns and the validation file that settings name; a check uses no other part of a recipe."""
    layer = read_settings(settings)
    check_settings(layer)
    for key in flatten(layer):
        if not key.startswith("data.columns") and key != "data.valid":
            raise UsageError(f"--set {key}: a check uses only data.columns.source, target, tag, quoting and data.valid")
    data = layer.get("data", {})
    return validate_section(Columns, data.get("columns", {}), "columns"), data.get("valid")


def require_pairs(task: str) -> None:
    """Refuse --fix for a task whose own code reads the data, which is not TSV."""
    own = find_task(task)
    if not own.reads_pairs:
        raise UsageError(f"--fix writes TSV, which the task {own.name} does not read; leave --fix out")


def say_place(predictor: Predictor, quiet: bool = False) -> None:
    """Print on standard error that a model runs on a GPU; print nothing for the CPU."""
    if predictor.device.type != "cpu" and not quiet:
        print(": ".join(place(gpu_name())), file=sys.stderr)  # noqa: T201


def use_threads(threads: int | None) -> None:
    """Set the number of CPU threads, by default one for each core."""
    if threads is not None:
        check_threads(threads, "--threads")
    torch.set_num_threads(threads or len(os.sched_getaffinity(0)))
