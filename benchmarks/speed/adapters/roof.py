"""Measure products a second and memory bandwidth with torch: python roof.py THREADS."""

import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from statistics import median

import torch
from common import say

# Rows, inner width, columns: the products of a Transformer 256/1024 on 4,096 tokens, of its vocabulary on a chunk of
# them, of a step of decoding (64 sentences, beam 5), of an LSTM 512; and one large square, which is the roof proper.
SHAPES = {
    "square": (2048, 2048, 2048),
    "attention": (4096, 256, 256),
    "feed-forward": (4096, 256, 1024),
    "feed-forward back": (4096, 1024, 256),
    "vocabulary": (1024, 256, 8000),
    "step": (320, 256, 1024),
    "one row": (1, 256, 8000),
    "recurrent": (128, 512, 2048),
}
SECONDS = 0.4
FEWEST, MOST = 3, 2000
# Far beyond any cache.
BYTES = 1 << 28


def fastest(work: Callable[[], object]) -> float:
    """Return the median seconds of some work, repeated for a while after a warm-up."""
    work()
    times: list[float] = []
    end = time.perf_counter() + SECONDS
    while len(times) < FEWEST or (time.perf_counter() < end and len(times) < MOST):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return median(times)


def products() -> None:
    """Tell the rate of products of every shape and type, in 10⁹ operations a second."""
    for name, (rows, inner, columns) in SHAPES.items():
        left, right = torch.randn(rows, inner), torch.randn(columns, inner)
        half, other_half = left.bfloat16(), right.bfloat16()
        works = {
            "fp32": partial(torch.matmul, left, right.t()),
            "bf16": partial(torch.matmul, half, other_half.t()),
            "int8": int8_product(left, right),
        }
        for kind, work in works.items():
            rate = 2 * rows * inner * columns / fastest(work) / 1e9
            say(roof=name, type=kind, gflops=rate, shape=[rows, inner, columns])


def int8_product(left: torch.Tensor, right: torch.Tensor) -> Callable[[], object]:
    """Return a product in 8 bits by FBGEMM, which rounds its left side too; PyTorch's own is slower than fp32."""
    with warnings.catch_warnings():
        # The library means to give tensors of 8 bits another form; the one at hand is pinned.
        warnings.simplefilter("ignore")
        narrow = torch.quantize_per_tensor(right, float(right.abs().max()) / 127, 0, torch.qint8)
    return partial(torch.ops.quantized.linear_dynamic, left, torch.ops.quantized.linear_prepack(narrow, None), True)


def memory() -> None:
    """Tell the bandwidth of reading and of copying (bytes read and bytes written both count), in 10⁹ bytes a second."""
    one = torch.ones(BYTES // 4)
    other = torch.empty_like(one)
    say(roof="memory read", gbytes=BYTES / fastest(one.sum) / 1e9)
    say(roof="memory copy", gbytes=2 * BYTES / fastest(lambda: other.copy_(one)) / 1e9)


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[1]))
    products()
    memory()
