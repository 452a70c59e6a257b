"""Defaults from data and machine: valid for every architecture and size, with reasons, following the data."""

import json
from dataclasses import replace

import pytest
import torch

from calque.catalog import ARCHITECTURES, SIZES, architecture
from calque.data.survey import SideFacts, Survey
from calque.errors import UsageError
from calque.model import build
from calque.recipe.layers import flatten, merge, spread_text, validate
from calque.recipe.presets import Choice, preset
from calque.recipe.tree import Recipe
from calque.system.machine import Machine
from calque.tasks.from_file import find_task
from calque.tasks.table import TASKS

LATIN = SideFacts(mean_characters=40.0, script="Latin", alphabet=60, sample=["a house"])
HAN = SideFacts(mean_characters=12.0, script="Han", alphabet=3_000, sample=["一座房子"])
SURVEYS = {
    "a handful": Survey(30, 3, 0, LATIN, LATIN, []),
    "captions": Survey(29_000, 2_900, 4, LATIN, LATIN, []),
    "to Chinese": Survey(45_000, 4_500, 0, LATIN, HAN, []),
    "a large set": Survey(3_000_000, 300_000, 9, LATIN, LATIN, []),
}
PLAIN = Machine(cores=2, memory_bytes=8 * 2**30, gpu="", bf16_ratio=1.0)
FAST = Machine(cores=16, memory_bytes=64 * 2**30, gpu="a GPU", bf16_ratio=2.0)


def recipe_for(choice: Choice, survey: Survey, machine: Machine = PLAIN) -> Recipe:
    """Return the recipe of a run without settings of its own."""
    return validate(merge(Recipe().model_dump(), preset(choice, survey, machine).layer))


@pytest.mark.parametrize("survey", SURVEYS.values(), ids=SURVEYS)
@pytest.mark.parametrize("name", ["auto", *ARCHITECTURES])
@pytest.mark.parametrize("size", ["auto", *SIZES])
@pytest.mark.parametrize("task", TASKS)
def test_every_choice_gives_a_valid_recipe_with_reasons(survey: Survey, name: str, size: str, task: str) -> None:
    for machine in (PLAIN, FAST):
        made = preset(Choice(name, size, find_task(task), ("en", "de")), survey, machine)
        recipe = validate(merge(Recipe().model_dump(), made.layer))
        assert recipe.task.kind == task
        assert made.reasons
        for reason in made.reasons:
            what, _, why = reason.partition(": ")
            assert what.strip()
            assert why.strip()
        # A choice that depends on the data is printed with its number.
        assert any(f"{survey.num_pairs:,} pairs" in reason for reason in made.reasons)
        assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_tiny_architecture_builds_from_its_preset(name: str) -> None:
    for survey in SURVEYS.values():
        recipe = recipe_for(Choice(name, "tiny"), survey)
        with torch.device("meta"):
            model = build(recipe.model, 50, 50 if recipe.text.joint else 60)
        assert sum(parameter.numel() for parameter in model.parameters()) > 0


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("size", SIZES)
def test_names_keep_what_they_stand_for(name: str, size: str) -> None:
    recipe = recipe_for(Choice(name, size), SURVEYS["captions"])
    expected = merge(Recipe().model_dump(), {"model": architecture(name, size)})["model"]
    for part in ("encoder", "decoder"):
        given = recipe.model_dump()["model"][part]
        named = flatten({key: value for key, value in expected[part].items() if key != "dropout"})
        assert named.items() <= flatten(given).items()


def test_the_machine_decides_threads_device_and_precision() -> None:
    plain, fast = (recipe_for(Choice(), SURVEYS["captions"], machine).train for machine in (PLAIN, FAST))
    assert (plain.threads, plain.device, plain.precision) == (2, "cpu", "fp32")
    assert (fast.threads, fast.device, fast.precision) == (16, "cuda", "bf16")
    assert fast.micro_batch_tokens > plain.micro_batch_tokens


def test_scripts_decide_the_vocabulary() -> None:
    same, other = (recipe_for(Choice(), SURVEYS[name]) for name in ("captions", "to Chinese"))
    assert same.text.joint
    assert not other.text.joint
    assert other.text.target.vocab_size >= min(32_000, 2 * HAN.alphabet)
    assert other.task.target_script == "Han"


def test_more_pairs_never_mean_a_smaller_vocabulary_or_batch_or_more_epochs() -> None:
    numbers = (10, 900, 4_000, 15_000, 45_000, 150_000, 900_000, 5_000_000)
    recipes = [recipe_for(Choice("lstm", "tiny"), replace(SURVEYS["captions"], num_pairs=number)) for number in numbers]
    sizes = [recipe.text.source.vocab_size for recipe in recipes]
    batches = [recipe.train.batch_tokens for recipe in recipes]
    epochs = [recipe.train.max_epochs for recipe in recipes]
    assert sizes == sorted(sizes)
    assert batches == sorted(batches)
    assert epochs == sorted(epochs, reverse=True)


def test_what_is_not_chosen_is_said() -> None:
    made = preset(Choice(), SURVEYS["captions"], PLAIN)
    text = "\n".join(made.reasons)
    for word in ("model ", "size ", "languages unknown", "vocabulary", "dropout", "epochs", "learning rate", "threads"):
        assert word in text
    chosen = "\n".join(preset(Choice("gru", "small", languages=("en", "de")), SURVEYS["captions"], PLAIN).reasons)
    assert "model " not in chosen
    assert "languages en → de" in chosen


def test_a_few_threads_are_processes() -> None:
    """One process adds the gradients of all: many would wait for it. A GPU is not shared so."""

    def parallel(machine: Machine, **train: int) -> str:
        layer = preset(Choice(), SURVEYS["captions"], machine, {"train": train}).layer
        return str(layer["train"]["parallel"])

    assert parallel(PLAIN) == parallel(PLAIN, threads=4) == "processes"
    assert parallel(PLAIN, threads=1) == parallel(PLAIN, threads=5) == parallel(FAST) == "threads"


TOLD = {
    "train.max_epochs": (7, "epochs"),
    "train.batch_tokens": (512, "tokens per update"),
    "train.lr": (0.1, "learning rate"),
    "train.threads": (3, "threads"),
    "train.precision": ("bf16", "fp32"),
    "train.device": ("cuda", "on the CPU"),
    "text.joint": (False, "one vocabulary"),
    "text.normalise": ("none", "NFC"),
    "text.vocab_size": (300, "pieces"),
    "text.kind": ("byte", "pieces"),
    "model.encoder.kind": ("gru", "model transformer"),
    "task.source_language": ("en", "languages"),
}


@pytest.mark.parametrize("key", TOLD)
def test_what_the_user_set_is_not_told_as_a_default(key: str) -> None:
    """Leave out the one reason that the setting took away, and no other."""
    value, words = TOLD[key]
    plain = preset(Choice(), SURVEYS["captions"], PLAIN)
    section, *path, field = key.split(".")
    settings = {section: {part: {field: value} for part in path} or {field: value}}
    made = preset(Choice(), SURVEYS["captions"], PLAIN, spread_text(settings))
    assert [reason for reason in plain.reasons if words in reason]
    assert not [reason for reason in made.reasons if words in reason]
    assert len(made.reasons) == len(plain.reasons) - 1
    if key in ("train.max_epochs", "train.batch_tokens"):
        for layer in (made.layer, plain.layer):
            for name in ("warmup", "validate_every", "save_every"):
                del layer["train"][name]
    if key not in ("text.joint", "model.encoder.kind"):
        assert made.layer == plain.layer


def test_warmup_and_validations_follow_the_length_that_was_set() -> None:
    """A run cut short to a tenth does not spend it on warming up."""

    def steps(**train: int) -> tuple[int, int]:
        layer = preset(Choice(), SURVEYS["captions"], PLAIN, {"train": train}).layer["train"]
        return layer["warmup"], layer["validate_every"]

    warmup, every = steps()
    shorter = steps(max_epochs=4)
    assert shorter[0] < warmup
    assert shorter[1] < every
    assert steps(max_updates=300) == (30, 50)
    # Half as many tokens an update make twice as many updates.
    assert steps(max_epochs=4, batch_tokens=1_024)[0] == pytest.approx(2 * shorter[0], rel=0.01)


def test_a_default_set_on_one_side_is_told_of_the_other() -> None:
    """Name the part that the default is still for."""
    settings = {"model": {"decoder": {"dropout": 0.0}}, "text": {"target": {"vocab_size": 300}}}
    made = preset(Choice(), SURVEYS["to Chinese"], PLAIN, settings)
    assert any(reason.startswith("dropout 0.2 of the encoder: ") for reason in made.reasons)
    assert any("pieces of the source: " in reason for reason in made.reasons)


def test_reasons_and_rates_follow_the_width_that_was_set() -> None:
    """Derive from what will be built, not from the size that was altered."""
    wide = {part: {"width": 512} for part in ("encoder", "decoder")}
    made = preset(Choice("transformer", "tiny"), SURVEYS["captions"], PLAIN, {"model": wide})
    assert (
        made.layer["train"]["lr"]
        == preset(Choice("transformer", "base"), SURVEYS["captions"], PLAIN).layer["train"]["lr"]
    )
    assert not any("128 wide" in reason for reason in made.reasons)
    apart = preset(Choice("transformer", "tiny"), SURVEYS["captions"], PLAIN, {"text": {"joint": False}})
    assert "tie_embeddings" not in apart.layer["model"]


@pytest.mark.parametrize(
    ("choice", "near", "known"),
    [
        (Choice(model="tranformer"), "transformer", ARCHITECTURES),
        (Choice(size="smal"), "small", SIZES),
    ],
)
def test_an_unknown_name_lists_the_known_ones(choice: Choice, near: str, known) -> None:
    with pytest.raises(UsageError) as caught:
        preset(choice, SURVEYS["captions"], PLAIN)
    assert f'Did you mean "{near}"?' in str(caught.value)
    assert all(name in str(caught.value) for name in known)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_recipe_survives_json(name: str) -> None:
    recipe = recipe_for(Choice(name, "base", languages=("en", "zh")), SURVEYS["to Chinese"])
    text = json.dumps(recipe.model_dump(mode="json"), ensure_ascii=False)
    assert validate(json.loads(text)) == recipe
    assert validate(json.loads(text)).model_dump() == recipe.model_dump()
