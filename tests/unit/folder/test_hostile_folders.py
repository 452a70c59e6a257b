"""A model folder may come from anybody: opening it gives a model or an error of one line, for any content."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3]))

from benchmarks.faults.hostile_folders import Change, crafted, mutated, run_trial

sys.path.pop(0)

CRAFTED = dict(crafted())
# The benchmark opens all of them; these are one of each kind.
CHOSEN = [
    "recipe model.encoder.layers=20000",
    "recipe model.decoder.width=10000000",
    "recipe model.encoder.feed_forward=9223372036854775808",
    "recipe model.encoder.dropout=1e999",
    "recipe model.encoder.dropout=NaN",
    "recipe without task",
    "recipe with model a list",
    "search {'beam': 1024}",
    "search {'min_length': 10000}",
    "search {'max_length_ratio': 1000.0}",
    "weights NaN",
    "weights infinite",
    "weights of float16",
    "weights of int64",
    "weights with one more",
    "weights with one less",
    "weights with a header of 18446744073709551615",
    *(f"{name} {what}" for name in ("recipe.json", "manifest.json") for what in ("a FIFO", "a device", "deep objects")),
    "model.safetensors a FIFO",
    "model.safetensors a pickle",
    "text/text.json a folder",
]
MUTATED = dict(mutated(seed=5, count=12))


@pytest.mark.parametrize("name", [*CHOSEN, *MUTATED])
def test_a_hostile_folder_ends_in_one_line(toy_model: Path, name: str) -> None:
    change: Change = (CRAFTED | MUTATED)[name]
    trial = run_trial(toy_model, name, change)
    assert trial.is_good, trial
    # Damage at random may hit a byte that is never read; what is crafted is always seen.
    assert trial.outcome == "refused" or name in MUTATED, trial


def test_an_untouched_folder_answers(toy_model: Path) -> None:
    assert run_trial(toy_model, "nothing", lambda folder: None, keep_manifest=True).outcome == "answered"
