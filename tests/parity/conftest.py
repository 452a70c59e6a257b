"""For parity with large libraries: imported once, quietly, where a test asks for them."""

import importlib
import os
import warnings
from collections.abc import Iterator
from functools import cache
from types import ModuleType

import pytest
from wanted import wanted


@pytest.fixture(scope="session")
def tensorflow() -> ModuleType:
    """Return TensorFlow, which takes seconds to import, on one thread of the CPU, its own logs silenced."""
    wanted("tensorflow")
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", "KERAS_BACKEND": "tensorflow"}
    # What its C++ side says before it reads that setting goes past Python.
    standard_error, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = importlib.import_module("tensorflow")
    finally:
        os.dup2(standard_error, 2)
        os.close(standard_error)
        os.close(nowhere)
    module.config.threading.set_intra_op_parallelism_threads(1)
    module.config.threading.set_inter_op_parallelism_threads(1)
    return module


@pytest.fixture(scope="session")
def keras(tensorflow: ModuleType) -> ModuleType:
    """Return Keras on TensorFlow."""
    module: ModuleType = tensorflow.keras
    assert module.backend.backend() == "tensorflow"
    return module


@pytest.fixture(scope="session")
def transformers() -> ModuleType:
    """Return Hugging Face's library, without network and without advice."""
    wanted("transformers")
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("transformers")


@pytest.fixture(scope="session")
def onnx() -> Iterator[None]:
    """Ask for the format, what torch translates with, and the runtime."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        wanted(name)
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    # Each export reads the same table of operators again, which takes two seconds.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(cache(ONNXRegistry.from_torchlib)))
        yield
