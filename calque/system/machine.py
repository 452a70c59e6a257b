"""Facts about the machine, found once before a run: cores, memory, a GPU, and whether bf16 is faster.

Only this module decides on which device models are trained and run.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

Device = Literal["cpu", "cuda"]

# A bf16 product must be faster than fp32 by this factor, since conversions between the types take time too.
WORTH_BF16 = 1.3
# Without one of these instructions a processor converts each number, so a fast measurement would be an error.
BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})
# Rounds of the probe, and products in a round: several, since the clock of processor time may be coarse.
ROUNDS, PRODUCTS = 25, 3


@dataclass(frozen=True)
class Machine:
    """The facts that defaults depend on; `bf16_ratio` is the fp32 time of a product over its bf16 time, or 1."""

    cores: int
    memory_bytes: int
    gpu: str
    bf16_ratio: float

    @property
    def device(self) -> Device:
        """Return the device on which models are trained and run."""
        return _device(self.gpu)

    @property
    def prefers_bf16(self) -> bool:
        """Return whether bf16 is faster in spite of its conversions."""
        return self.bf16_ratio >= WORTH_BF16


def gpu_name() -> str:
    """Return the name of the GPU, or nothing."""
    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else ""


def default_device() -> Device:
    """Return the device on which a model runs by default: the GPU if there is one."""
    return _device(gpu_name())


def place(gpu: str) -> tuple[str, str]:
    """Return the device and the reason for it, in words."""
    return (f"on {gpu}", "the GPU at hand") if gpu else ("on the CPU", "there is no GPU")


def memory_bytes(device: str = "cpu") -> int:
    """Return the memory of a device: that of the GPU, or that of this process's control group or machine."""
    if device == "cuda":
        return int(torch.cuda.get_device_properties(0).total_memory)
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
    except OSError:
        return physical
    return min(physical, int(limit)) if limit.isdecimal() else physical


def probe() -> Machine:
    """Look at the machine; the bf16 probe takes a tenth of a second."""
    gpu = gpu_name()
    if gpu:
        ratio = 2.0 if torch.cuda.is_bf16_supported() else 1.0
    else:
        ratio = _bf16_ratio() if has_bf16_instructions() else 1.0
    return Machine(len(os.sched_getaffinity(0)), memory_bytes(), gpu, ratio)


def _device(gpu: str) -> Device:
    return "cuda" if gpu else "cpu"


def has_bf16_instructions(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Return whether the processor has bf16 instructions; false if the system does not list its instructions."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), [])
    return not BF16_FLAGS.isdisjoint(flags)


def _bf16_ratio() -> float:
    """Return the fp32 time of a product over its bf16 time, by the best of many alternating rounds.

    Measures the processor time of one thread, which does not depend on other programs.
    """
    inputs, weights = torch.ones(512, 256), torch.ones(256, 512)
    halves = inputs.bfloat16(), weights.bfloat16()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rounds = [(_seconds(inputs, weights), _seconds(*halves)) for _ in range(ROUNDS)]
    finally:
        torch.set_num_threads(threads)
    whole, half = (min(times) for times in zip(*rounds, strict=True))
    return float(whole / half)


def _seconds(left: torch.Tensor, right: torch.Tensor) -> float:
    start = time.thread_time()
    for _ in range(PRODUCTS):
        left @ right
    return time.thread_time() - start
