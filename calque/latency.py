"""How many threads answer a line soonest, found by trying: once for the shape of a model on a machine, then remembered.

Operations on few rows can lose more where threads wait for each other than the others give.
"""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

import torch

from calque.engines.compiled_search import Compiled
from calque.engines.compiler import cache_folder, processor
from calque.engines.ctranslate2 import CTranslate2
from calque.files import write_atomic
from calque.predict import Predictor

# Trying begins no new round after so long.
SECONDS = 0.5


def use_soonest(predictor: Predictor, answer: Callable[[], object]) -> None:
    """Let torch use one thread or all that it has, with whichever the predictor's `answer` to a line comes sooner.

    An engine that does not compute with torch's threads, a GPU and a single thread are left as they are.
    """
    most = torch.get_num_threads()
    is_elsewhere = isinstance(predictor.engine, Compiled | CTranslate2) or predictor.device.type != "cpu"
    if most == 1 or is_elsewhere:
        return
    place = cache_folder() / f"threads-{_key(predictor, most)}"
    count = _remembered(place)
    if count not in (1, most):
        long_lines = predictor.long_lines
        count = soonest((1, most), lambda threads: _with_threads(threads, answer))
        predictor.long_lines = long_lines
        _remember(place, count)
    torch.set_num_threads(count)


def soonest(
    counts: tuple[int, ...], work: Callable[[int], object], clock: Callable[[], float] = time.perf_counter
) -> int:
    """Return with which of `counts` some work takes least time: the best of a few rounds after one that warms up."""
    best = dict.fromkeys(counts, float("inf"))
    work(counts[0])
    start = clock()
    while True:
        for count in counts:
            begun = clock()
            work(count)
            best[count] = min(best[count], clock() - begun)
        if clock() - start > SECONDS:
            return min(best, key=lambda count: best[count])


def _with_threads(threads: int, answer: Callable[[], object]) -> None:
    torch.set_num_threads(threads)
    answer()


def _key(predictor: Predictor, most: int) -> str:
    """Return what tells apart all that the answer depends on: shapes, engine, beam, versions, processor."""
    shapes = [(name, tuple(weight.shape)) for name, weight in predictor.network.named_parameters()]
    facts = (shapes, predictor.engine_said, predictor.options.beam, torch.__version__, processor(), most)
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:20]


def _remembered(place: Path) -> int:
    """Return the number that is kept in a file, or 0."""
    try:
        return int(place.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0


def _remember(place: Path, count: int) -> None:
    """Keep a number for the next start; where nothing can be written it is tried again then."""
    try:
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomic(place, str(count))
    except OSError:
        return
