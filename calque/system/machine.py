"""What the machine has, asked once before a run: cores, memory, a GPU, and whether bf16 makes it faster.

Where models are trained and run is decided here, and nowhere else.
"""

import os
import time
from dataclasses import dataclass
from statistics import median
from typing import Literal

import torch

Device = Literal["cpu", "cuda"]

# A bf16 product must beat fp32 by this much: the copies between the types cost something too.
WORTH_BF16 = 1.3


@dataclass(frozen=True)
class Machine:
    """Hold the facts that defaults depend on; `bf16_ratio` is the fp32 time of a product over its bf16 time."""

    cores: int
    memory_bytes: int
    gpu: str
    bf16_ratio: float

    @property
    def device(self) -> Device:
        """Return where models are trained and run."""
        return _device(self.gpu)

    @property
    def prefers_bf16(self) -> bool:
        """Say whether bf16 pays."""
        return self.bf16_ratio >= WORTH_BF16


def gpu_name() -> str:
    """Return the name of the GPU at hand, or nothing."""
    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else ""


def default_device() -> Device:
    """Return where a model runs unless told: on the GPU when there is one."""
    return _device(gpu_name())


def place(gpu: str) -> tuple[str, str]:
    """Say where that is, and why, in words for a person."""
    return (f"on {gpu}", "the GPU at hand") if gpu else ("on the CPU", "no GPU is at hand")


def probe() -> Machine:
    """Look at the machine; the bf16 probe takes a tenth of a second."""
    gpu = gpu_name()
    ratio = 2.0 if gpu and torch.cuda.is_bf16_supported() else _bf16_ratio()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Machine(len(os.sched_getaffinity(0)), memory, gpu, ratio)


def _device(gpu: str) -> Device:
    return "cuda" if gpu else "cpu"


def _bf16_ratio() -> float:
    inputs, weights = torch.ones(512, 256), torch.ones(256, 512)
    return _seconds(inputs, weights) / _seconds(inputs.bfloat16(), weights.bfloat16())


def _seconds(left: torch.Tensor, right: torch.Tensor) -> float:
    times = []
    for _ in range(7):
        start = time.perf_counter()
        left @ right
        times.append(time.perf_counter() - start)
    return median(times[2:])
