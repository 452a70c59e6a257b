"""Cut a save off at each of its file operations, with and without losing what was not fsynced yet."""

import errno
import os
from collections import Counter

import pytest
import torch
from training_disk import Disk, Killed

from calque.errors import ResourceError
from calque.folder.checkpoint import Snapshot, load_checkpoint, save_checkpoint, save_weights
from calque.folder.weights import load_weights


def snapshot(number):
    return Snapshot({"w": torch.full((50,), float(number))}, {"m": torch.arange(number)}, {"update": number})


def number_in(loaded):
    return loaded.state["update"], int(loaded.model["w"][0]), len(loaded.optimizer["m"])


def load_quietly(run):
    warnings = []
    loaded = load_checkpoint(run, warnings.append)
    assert warnings == []
    return loaded


def entries(run):
    return {path.name for path in run.iterdir()}, {path.name for path in (run / "checkpoints").iterdir()}


@pytest.fixture
def quick_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.mark.usefixtures("quick_disk")
@pytest.mark.parametrize("lose", [False, True], ids=["kill", "power cut"])
@pytest.mark.parametrize("earlier", [(), (100, 200)], ids=["first save", "later save"])
def test_a_save_cut_off_anywhere_leaves_the_old_or_the_new(tmp_path, earlier, lose):
    outcomes = Counter()
    for fail_at in range(1, 200):
        run = tmp_path / str(fail_at)
        run.mkdir()
        for step in earlier:
            save_checkpoint(run, step, snapshot(step))
        with pytest.MonkeyPatch.context() as patch:
            disk = Disk(patch, run, fail_at, Killed())
            try:
                save_checkpoint(run, 400, snapshot(400))
            except Killed:
                assert disk.dead
        if lose:
            disk.lose_what_is_not_synced()
        loaded = load_quietly(run)
        if loaded is None:
            assert not earlier
        else:
            step = 400 if "400" in loaded[0] else 200
            assert number_in(loaded[1]) == (step, step, step)
            outcomes[step] += 1
            assert disk.dead or step == 400, "a save that returned must last"
        # The resumed trainer comes to the same step again; after its save nothing is left over.
        path = save_checkpoint(run, 400, snapshot(401))
        assert number_in(load_quietly(run)[1]) == (401, 401, 401)
        top, checkpoints = entries(run)
        assert top == {"checkpoints", "latest"}
        assert path.name in checkpoints
        assert not [name for name in checkpoints if "tmp" in name]
        assert len(checkpoints) <= 2
        if not disk.dead:
            break
    assert not disk.dead
    assert {"open", "write", "fsync", "mkdir", "rename", "replace"} <= set(disk.log)
    assert outcomes[400] > 0
    assert outcomes[200] > 15 or not earlier


@pytest.mark.usefixtures("quick_disk")
@pytest.mark.parametrize("kind", ["open", "write", "fsync", "mkdir", "rename", "replace"])
def test_an_error_of_the_disk_anywhere_is_reported_and_harmless(tmp_path, kind):
    for fail_at in range(1, 200):
        run = tmp_path / f"{kind}{fail_at}"
        for step in (100, 200):
            save_checkpoint(run, step, snapshot(step))
        with pytest.MonkeyPatch.context() as patch:
            disk = Disk(patch, run, fail_at, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), only=kind)
            message = message_of_failure(run)
        name, loaded = load_quietly(run)
        assert number_in(loaded) == ((200,) * 3 if name == "step-000200" else (400,) * 3)
        top, checkpoints = entries(run)
        assert top == {"checkpoints", "latest"}
        assert not [name for name in checkpoints if "tmp" in name]
        if disk.count < fail_at:
            break
        # A failure to make the folder of checkpoints does no harm; every other failure must be reported.
        assert (kind, fail_at) == ("mkdir", 1) or ("No space left" in message and "free there" in message)
    assert fail_at > 1
    assert (name, message) == ("step-000400", "")


def message_of_failure(run):
    try:
        save_checkpoint(run, 400, snapshot(400))
    except ResourceError as error:
        return str(error)
    return ""


@pytest.mark.usefixtures("quick_disk")
@pytest.mark.parametrize("lose", [False, True], ids=["kill", "power cut"])
def test_weights_cut_off_anywhere_are_the_old_or_the_new(tmp_path, lose):
    path = tmp_path / "model.safetensors"
    seen = set()
    for fail_at in range(1, 50):
        save_weights(path, {"w": torch.zeros(9)}, {"form": "1"})
        with pytest.MonkeyPatch.context() as patch:
            disk = Disk(patch, tmp_path, fail_at, Killed())
            try:
                save_weights(path, {"w": torch.ones(9)}, {"form": "1"})
            except Killed:
                assert disk.dead
        if lose:
            disk.lose_what_is_not_synced()
        values = load_weights(path)["w"].tolist()
        assert values in ([0] * 9, [1] * 9)
        seen.add(values[0])
        if not disk.dead:
            break
    assert values == [1] * 9
    assert seen == {0, 1}
