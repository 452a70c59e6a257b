"""Measure products a second and memory bandwidth with torch: python roof.py THREADS."""

import sys
import time
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
        quantised = ((left * 20).to(torch.int8), (right * 20).to(torch.int8))
        pairs = {"fp32": (left, right), "bf16": (left.bfloat16(), right.bfloat16()), "int8": quantised}
        for kind, (one, other) in pairs.items():
            product = torch._int_mm if kind == "int8" else torch.matmul
            try:
                rate = 2 * rows * inner * columns / fastest(partial(product, one, other.t())) / 1e9
            except RuntimeError as error:
                say(roof=name, type=kind, failure=str(error).splitlines()[0])
                continue
            say(roof=name, type=kind, gflops=rate, shape=[rows, inner, columns])


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
