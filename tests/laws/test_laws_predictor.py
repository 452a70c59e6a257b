"""Law 16: a Predictor that was copied, pickled, forked or shared, or whose weights moved, answers the same."""

import copy
import multiprocessing
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from random_models import narrow, write_random

from calque.engines.dense import has_bf16
from calque.errors import UsageError
from calque.predict.predictor import Predictor, load

ENGINES = ["eager", "fused", "compiled", "int8", "bf16"]
LINES = ["s1 s2 s3", "s4", "s5 s1 s1 s2", "s2 s6", "s3 s3 s3 s3 s3 s1"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return two folders of one recipe with different weights."""
    place = tmp_path_factory.mktemp("transformers")
    section = narrow("transformer")
    return write_random(place / "first", section, seed=1), write_random(place / "second", section, seed=2)


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, compiler: None) -> str:
    if request.param == "bf16" and not has_bf16():
        pytest.skip("this processor has no instructions for bf16")
    return str(request.param)


def answers(predictor: Predictor) -> list[list[tuple[str, float]]]:
    return [[(answer.text, answer.score) for answer in found] for found in predictor.answers(LINES)]


def other_memory(model: torch.nn.Module) -> None:
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()


MOVES: dict[str, Callable[[torch.nn.Module], object]] = {
    "share_memory": lambda model: model.share_memory(),
    "double and back": lambda model: model.double().float(),
    "other memory": other_memory,
    "load_state_dict of its own": lambda model: model.load_state_dict(copy.deepcopy(model.state_dict())),
    "to the same device": lambda model: model.to("cpu"),
}


@pytest.mark.parametrize("move", MOVES)
def test_weights_that_moved_give_the_same_answers(folders: tuple[Path, Path], engine: str, move: str) -> None:
    predictor = load(folders[0], engine=engine, device="cpu")
    expected = answers(predictor)
    MOVES[move](predictor.model)
    # What was freed is soon written over.
    waste = [torch.full([size], 7.0) for size in (100, 1_000, 10_000, 100_000) for _ in range(20)]
    assert answers(predictor) == expected
    assert len(waste) == 80


def replace_parameters(model: torch.nn.Module, others: torch.nn.Module) -> None:
    for module, other in zip(model.modules(), others.modules(), strict=True):
        for name, parameter in other._parameters.items():
            if parameter is not None:
                setattr(module, name, parameter)


def write_through_data(model: torch.nn.Module, others: torch.nn.Module) -> None:
    for parameter, other in zip(model.parameters(), others.parameters(), strict=True):
        parameter.data.copy_(other.data)


def replace_parts(model: torch.nn.Module, others: torch.nn.Module) -> None:
    for name, other in others.named_children():
        setattr(model, name, other)


CHANGES: dict[str, Callable[[torch.nn.Module, torch.nn.Module], object]] = {
    "load_state_dict": lambda model, others: model.load_state_dict(others.state_dict()),
    "other parameters": replace_parameters,
    "other parts": replace_parts,
    "through data": write_through_data,
}


@pytest.mark.parametrize("change", CHANGES)
def test_weights_that_changed_give_the_answers_of_the_new_ones(
    folders: tuple[Path, Path], engine: str, change: str
) -> None:
    first, second = (load(folder, engine=engine, device="cpu") for folder in folders)
    before, expected = answers(first), answers(second)
    assert before != expected
    CHANGES[change](first.model, second.model)
    assert answers(first) == expected


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_weights_of_another_type_give_the_answers_of_their_values(
    folders: tuple[Path, Path], engine: str, dtype: torch.dtype
) -> None:
    predictor, rounded = (load(folders[0], engine=engine, device="cpu") for _ in range(2))
    predictor.model.to(dtype)
    rounded.model.to(dtype).float()
    found, expected = answers(predictor), answers(rounded)
    # The model itself computes in its own type, all other engines in fp32.
    apart = 0.05 if engine == "eager" else 0.0
    for one, other in zip(found, expected, strict=True):
        assert one[0][1] == pytest.approx(other[0][1], abs=apart)


def test_weights_that_left_the_cpu_are_refused(folders: tuple[Path, Path], engine: str) -> None:
    if engine == "eager":
        pytest.skip("eager searches wherever the model is")
    predictor = load(folders[0], engine=engine, device="cpu")
    predictor.model.to("meta")
    with pytest.raises(UsageError, match="moved to 'meta'"):
        predictor.best(LINES)


def test_a_model_loaded_in_inference_mode_answers_the_same(folders: tuple[Path, Path], engine: str) -> None:
    expected = answers(load(folders[0], engine=engine, device="cpu"))
    with torch.inference_mode():
        predictor = load(folders[0], engine=engine, device="cpu")
        assert answers(predictor) == expected
    assert answers(predictor) == expected


def test_a_copy_made_in_training_answers_the_same(folders: tuple[Path, Path], engine: str) -> None:
    predictor = load(folders[0], engine=engine, device="cpu")
    expected = answers(predictor)
    predictor.model.train()
    assert answers(copy.deepcopy(predictor)) == expected


def pickled(predictor: Predictor) -> Predictor:
    twin = pickle.loads(pickle.dumps(predictor))
    assert isinstance(twin, Predictor)
    return twin


@pytest.mark.parametrize("copied", [copy.deepcopy, copy.copy, pickled])
def test_a_copy_answers_the_same(folders: tuple[Path, Path], engine: str, copied: Callable[..., Predictor]) -> None:
    predictor = load(folders[0], engine=engine, device="cpu")
    expected = answers(predictor)
    twin = copied(predictor)
    assert answers(twin) == expected
    del predictor
    assert answers(twin) == expected


def test_threads_get_the_same_answers(folders: tuple[Path, Path], engine: str) -> None:
    predictor = load(folders[0], engine=engine, device="cpu")
    expected = answers(predictor)
    with ThreadPoolExecutor(4) as threads:
        assert all(found == expected for found in threads.map(answers, [predictor] * 24))


def test_a_pool_of_forked_processes_answers_the_same(folders: tuple[Path, Path], engine: str) -> None:
    predictor = load(folders[0], engine=engine, device="cpu")
    expected = [predictor(line) for line in LINES]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(predictor, LINES) == expected
    # Sending the predictor to a pool moves its weights to shared memory.
    assert [predictor(line) for line in LINES] == expected


@pytest.mark.slow
def test_a_spawned_process_answers_the_same(folders: tuple[Path, Path], compiler: None) -> None:
    predictor = load(folders[0], engine="compiled", device="cpu")
    expected = [predictor(line) for line in LINES]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(predictor, LINES) == expected
