"""Fields that have a new name: the old one is still read from settings, files, Python and stored runs."""

import json
import shutil
from pathlib import Path

import pytest
from toy_language import BRIEF, pairs

from calque import api
from calque.errors import UsageError
from calque.recipe.layers import Layer, merge, read_settings
from calque.recipe.renamed import RENAMED
from calque.recipe.values import settings_layer
from calque.runs.request import Named, make_request

NAMED = Named("gru", "tiny", "translation", None)
OLD, NEW = "train.piece_tokens", "train.micro_batch_tokens"
NOTICE = f"{OLD} is now called {NEW}; the old name is still read"


def test_the_old_name_is_read_from_every_place_with_one_notice(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text("[train]\npiece_tokens = 64\n", encoding="utf-8")
    config = str(tmp_path / "recipe.toml")
    for settings, file in (
        ([f"{OLD}=64"], None),
        (settings_layer({OLD: 64}), None),
        ([], config),
        ([f"{OLD}=64"], config),
        # The later layer wins, whatever name it uses.
        ([f"{NEW}=64"], config),
    ):
        request = make_request(["x.tsv"], None, NAMED, settings, file)
        assert request.settings == {"train": {"micro_batch_tokens": 64}}
        assert request.notices == (NOTICE,)
    assert make_request(["x.tsv"], None, NAMED, [f"{NEW}=64"]).notices == ()


def test_both_names_in_one_place_are_refused() -> None:
    with pytest.raises(UsageError, match=f"{OLD} is the old name of {NEW}, and both are set. Remove {OLD}"):
        make_request(["x.tsv"], None, NAMED, [f"{OLD}=64", f"{NEW}=32"])


def test_a_wrong_value_is_reported_by_the_new_name() -> None:
    with pytest.raises(UsageError, match=rf"{NEW}: must be at least 1 \(it is 0\)"):
        make_request(["x.tsv"], None, NAMED, [f"{OLD}=0"])


def with_old_names(values: Layer) -> Layer:
    """Return sections as they were stored before fields were renamed."""
    values = json.loads(json.dumps(values))
    for old, new in RENAMED.items():
        (section, before), after = old.split("."), new.rpartition(".")[2]
        values[section][before] = values[section].pop(after)
    return values


def test_a_run_that_was_stored_with_the_old_name_resumes(tmp_path: Path) -> None:
    """Continue under either name, with the weights of a run in one go; its recipe then has the new name."""
    settings = read_settings([*BRIEF, "train.threads=1", "train.schedule=constant", f"{NEW}=64"])
    longer = merge(settings, {"train": {"max_updates": 6}})
    old = merge({key: value for key, value in longer.items() if key != "train"}, with_old_names(longer))
    old["train"].pop("micro_batch_tokens", None)

    def train(name: str, layer: Layer) -> bytes:
        api.train(pairs(60), out=tmp_path / name, model="gru", size="tiny", quiet=True, settings=layer)
        return (tmp_path / name / "model.safetensors").read_bytes()

    whole = train("whole", longer)
    train("old", settings)
    shutil.copytree(tmp_path / "old", tmp_path / "new")
    for name, again in (("new", longer), ("old", old)):
        recipe, record = (tmp_path / name / file for file in ("recipe.json", "run.json"))
        recipe.write_text(json.dumps(with_old_names(json.loads(recipe.read_text()))))
        stored = json.loads(record.read_text())
        stored["recipe"] = with_old_names(stored["recipe"])
        stored["request"][OLD] = stored["request"].pop(NEW)
        record.write_text(json.dumps(stored))
        assert train(name, again) == whole
        values = json.loads(recipe.read_text())["train"]
        assert values["micro_batch_tokens"] == 64
        assert "piece_tokens" not in values
