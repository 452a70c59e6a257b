"""A checkpoint is the old one or the new one, complete: for every changed byte and every interrupted save."""

import random
import resource
import shutil

import pytest
import torch

from calque.errors import Diverged, ResourceError, UsageError
from calque.folder.checkpoint import Snapshot, load_checkpoint, load_weights, save_checkpoint, save_weights
from calque.system.files import sha256_of

FILES = ["model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"]


def snapshot(number):
    draw = torch.Generator().manual_seed(number)
    weight = torch.randn(4, 6, generator=draw)
    model = {"weight": weight, "tied": weight, "view": weight[1:, ::2].T, "half": weight.bfloat16(), "none": weight[:0]}
    optimizer = {"rng": torch.get_rng_state()[:64], "step": torch.tensor(number), "flag": torch.tensor([True])}
    return Snapshot(
        model, optimizer, {"update": number, "best": 0.1 + number, "names": ["ä", None], "早": {"停": [1.5]}}
    )


def assert_same(one, other):
    for left, right in ((one.model, other.model), (one.optimizer, other.optimizer)):
        assert left.keys() == right.keys()
        for name in left:
            assert left[name].dtype == right[name].dtype
            assert torch.equal(left[name], right[name])
    assert one.state == other.state


def load(run):
    warnings = []
    loaded = load_checkpoint(run, warnings.append)
    return (*(loaded or (None, None)), warnings)


def names(run):
    return sorted(path.name for path in (run / "checkpoints").iterdir())


def test_round_trip_is_bit_exact(tmp_path):
    saved = snapshot(1)
    path = save_checkpoint(tmp_path, 400, saved)
    assert path == tmp_path / "checkpoints" / "step-000400"
    assert (tmp_path / "latest").read_text() == "step-000400\n"
    assert sorted(file.name for file in path.iterdir()) == sorted(FILES)
    name, loaded, warnings = load(tmp_path)
    assert (name, warnings) == ("step-000400", [])
    assert_same(loaded, saved)
    loaded.model["weight"].add_(1)  # what is loaded belongs to the caller
    assert_same(load(tmp_path)[1], saved)


def test_nothing_saved_is_nothing_loaded(tmp_path):
    assert load(tmp_path) == (None, None, [])
    save_checkpoint(tmp_path, 1, snapshot(1))
    shutil.rmtree(tmp_path / "checkpoints")  # allowed: what stays is the model
    assert load(tmp_path) == (None, None, [])


def flip(path, draw):
    data = bytearray(path.read_bytes())
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    path.write_bytes(data)


def truncate(path, draw):
    path.write_bytes(path.read_bytes()[: draw.randrange(path.stat().st_size)])


def delete(path, draw):
    path.unlink()


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize(("damage", "trials"), [(flip, 40), (truncate, 10), (delete, 1)])
def test_any_damage_falls_back_with_one_warning(tmp_path, file, damage, trials):
    draw = random.Random(7)
    old = snapshot(1)
    save_checkpoint(tmp_path, 200, old)
    newest = save_checkpoint(tmp_path, 400, snapshot(2))
    whole = (newest / file).read_bytes()
    for _ in range(trials):
        damage(newest / file, draw)
        name, loaded, warnings = load(tmp_path)
        assert name == "step-000200"
        assert_same(loaded, old)
        assert len(warnings) == 1
        assert "step-000400" in warnings[0]
        assert file in warnings[0] or file == "manifest.json"
        (newest / file).write_bytes(whole)
    assert load(tmp_path)[0] == "step-000400"


def test_every_byte_of_the_manifest_counts(tmp_path):
    save_checkpoint(tmp_path, 200, snapshot(1))
    path = save_checkpoint(tmp_path, 400, snapshot(2)) / "manifest.json"
    whole = path.read_bytes()
    for i in range(0, len(whole), 3):
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :])
        assert load(tmp_path)[0] == "step-000200", whole[i : i + 10]
    for still_json in (whole.replace(b" ", b"\t", 1), whole + b" ", whole.replace(b'"step": 400', b'"step": 200')):
        path.write_bytes(still_json)
        assert load(tmp_path)[0] == "step-000200"


@pytest.mark.parametrize("content", [b"", b"step-000999\n", b"../../etc", b"\xff\xfe"])
def test_damaged_latest_falls_back_to_the_newest_step(tmp_path, content):
    for step in (200, 400):
        save_checkpoint(tmp_path, step, snapshot(step))
    (tmp_path / "latest").write_bytes(content)
    name, _, warnings = load(tmp_path)
    assert name == "step-000400"
    assert len(warnings) == 1
    assert "latest" in warnings[0]


def test_latest_decides_over_the_step(tmp_path):
    for step in (200, 400):
        save_checkpoint(tmp_path, step, snapshot(step))
    (tmp_path / "latest").write_text("step-000200")
    assert load(tmp_path)[::2] == ("step-000200", [])


def test_no_valid_checkpoint_is_an_error_not_a_new_start(tmp_path):
    for step in (200, 400):
        truncate(save_checkpoint(tmp_path, step, snapshot(step)) / "state.json", random.Random(1))
    with pytest.raises(ResourceError, match=r"step-000400.*step-000200") as error:
        load(tmp_path)
    assert "--fresh" in str(error.value)


def test_checkpoint_of_a_later_format_is_named_as_such(tmp_path):
    path = save_checkpoint(tmp_path, 200, snapshot(1)) / "manifest.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(ResourceError, match="its format is 2, this calque reads 1"):
        load(tmp_path)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("part", ["model", "optimizer", "state"])
def test_nothing_that_is_not_finite_is_saved(tmp_path, part, bad):
    save_checkpoint(tmp_path, 200, snapshot(1))
    poisoned = snapshot(2)
    getattr(poisoned, part)["poison"] = {"deep": [1, bad]} if part == "state" else torch.tensor([[0.0, bad]])
    with pytest.raises(Diverged, match="poison"):
        save_checkpoint(tmp_path, 400, poisoned)
    assert names(tmp_path) == ["step-000200"]


def test_state_that_json_would_change_is_our_own_mistake(tmp_path):
    with pytest.raises(AssertionError):
        save_checkpoint(tmp_path, 1, Snapshot({}, {}, {"pair": (1, 2)}))


def test_keep_and_protect(tmp_path):
    for step in range(100, 700, 100):
        save_checkpoint(tmp_path, step, snapshot(step), keep=3, protect=["step-000200"])
    assert names(tmp_path) == ["step-000200", "step-000400", "step-000500", "step-000600"]
    save_checkpoint(tmp_path, 700, snapshot(700))
    assert names(tmp_path) == ["step-000600", "step-000700"]


def test_a_name_is_never_used_twice(tmp_path):
    save_checkpoint(tmp_path, 200, snapshot(1))
    damaged = save_checkpoint(tmp_path, 400, snapshot(2))
    delete(damaged / "state.json", None)
    assert load(tmp_path)[0] == "step-000200"
    assert save_checkpoint(tmp_path, 400, snapshot(3)).name == "step-000400-1"
    assert load(tmp_path)[::2] == ("step-000400-1", [])
    # The valid one stays as the second, not the damaged one that bears the later step.
    assert names(tmp_path) == ["step-000200", "step-000400-1"]


def test_given_up_later_steps_go_first(tmp_path):
    for step in (200, 800):
        save_checkpoint(tmp_path, step, snapshot(step))
    save_checkpoint(tmp_path, 400, snapshot(400))
    assert names(tmp_path) == ["step-000200", "step-000400"]


@pytest.mark.parametrize("limit", [10, 200, 400])
def test_a_limit_on_file_sizes_is_reported_and_harmless(tmp_path, limit):
    save_checkpoint(tmp_path, 200, snapshot(1))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(ResourceError, match=r"step-000400: File too large") as error:
            save_checkpoint(tmp_path, 400, snapshot(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "Needed: " in str(error.value)
    assert "free there: " in str(error.value)
    assert names(tmp_path) == ["step-000200"]
    assert load(tmp_path)[::2] == ("step-000200", [])


def test_weights_round_trip_with_metadata(tmp_path):
    saved = snapshot(1).model
    metadata = {letter: letter * 3 for letter in "zyxwvutsrq"} | {"ä": "早"}
    save_weights(tmp_path / "model.safetensors", saved, metadata)
    loaded = load_weights(tmp_path / "model.safetensors")
    assert_same(Snapshot(loaded, {}, {}), Snapshot(saved, {}, {}))
    from safetensors import safe_open

    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert file.metadata() == metadata
    mode = (tmp_path / "model.safetensors").stat().st_mode
    (tmp_path / "plain").touch()
    assert mode == (tmp_path / "plain").stat().st_mode


def test_the_same_weights_are_the_same_file(tmp_path):
    metadata = {letter: letter for letter in "hgfedcba"}
    save_weights(tmp_path / "one", snapshot(1).model, metadata)
    save_weights(tmp_path / "two", snapshot(1).model, dict(reversed(metadata.items())))
    assert sha256_of(tmp_path / "one") == sha256_of(tmp_path / "two")
    header = (tmp_path / "one").read_bytes()[8:].decode("utf-8", "replace")
    assert [header.index(f'"{letter}":"{letter}"') for letter in "abcdefgh"] == sorted(
        header.index(f'"{letter}":"{letter}"') for letter in "abcdefgh"
    )


def test_weights_not_finite_or_not_writable_keep_the_old_file(tmp_path):
    path = tmp_path / "model.safetensors"
    save_weights(path, {"a": torch.ones(2)}, {})
    with pytest.raises(Diverged, match='"a"'):
        save_weights(path, {"a": torch.tensor([float("nan")])}, {})
    with pytest.raises(ResourceError, match="Needed"):
        save_weights(tmp_path / "nowhere" / "model.safetensors", {"a": torch.ones(2)}, {})
    assert load_weights(path)["a"].tolist() == [1, 1]


@pytest.mark.parametrize("kind", ["missing", "folder", "empty", "text", "cut", "header", "lies"])
def test_what_holds_no_weights_is_refused_in_one_line(tmp_path, kind):
    path = tmp_path / "model.safetensors"
    if kind == "folder":
        path.mkdir()
    elif kind != "missing":
        save_weights(path, {"a": torch.ones(100)}, {})
        whole = path.read_bytes()
        lies = whole.replace(b'"F32"', b'"F99"')
        contents = {
            "empty": b"",
            "text": b"hello" * 50,
            "cut": whole[:-1],
            "header": b"\xff" * 8 + whole[8:],
            "lies": lies,
        }
        path.write_bytes(contents[kind])
    with pytest.raises(UsageError) as error:
        load_weights(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
