"""What the machine has, asked once before a run: cores, memory, a GPU, and whether bf16 makes it faster."""

import os
import time
from dataclasses import dataclass
from statistics import median

import torch

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
    def prefers_bf16(self) -> bool:
        """Say whether bf16 pays."""
        return self.bf16_ratio >= WORTH_BF16


def probe() -> Machine:
    """Look at the machine; the bf16 probe takes a tenth of a second."""
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else ""
    ratio = 2.0 if gpu and torch.cuda.is_bf16_supported() else _bf16_ratio()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Machine(len(os.sched_getaffinity(0)), memory, gpu, ratio)


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
