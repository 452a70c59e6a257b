"""How many threads answer a lone line soonest: tried once for a shape of model on a machine, then remembered.

Operations on few rows can lose more where threads wait for each other than the others give.
"""

import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from calque.engines.compiled.compiler import cache_folder, processor
from calque.predict.predictor import Predictor
from calque.system.files import write_atomic
from calque.text.graph.layout import SourceError

# Trying begins no new round after so long.
SECONDS = 0.5


class Threads:
    """Choose torch's threads for lines that are answered together: all for several, for a lone one what is faster."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor, self.most = predictor, torch.get_num_threads()
        # What searches in C has no threads, what calls CTranslate2 has its own.
        is_elsewhere = predictor.engine.owns_threads or predictor.device.type != "cpu"
        self.alone = self.most if is_elsewhere else 0

    def fit(self, lines: Sequence[str], answer: Callable[[], object]) -> None:
        """Use as many threads as suit some lines; `answer` answers them, and is called where it must be tried."""
        if self.most == 1:
            return
        is_alone = sum(not self.predictor.text.inputs.is_blank(line) for line in lines) == 1
        if is_alone and not self.alone:
            self.alone = self._find(answer)
        torch.set_num_threads(self.alone if is_alone and self.alone else self.most)

    def _find(self, answer: Callable[[], object]) -> int:
        """Return what is remembered, or found by trying; 0 for a line that cannot be read, which says nothing."""
        place = _place(f"threads-{self._key()}")
        count = _remembered(place)
        if count in (1, self.most):
            return count
        long_lines = self.predictor.long_lines
        try:
            count = soonest((1, self.most), lambda threads: _with_threads(threads, answer))
        except SourceError:
            return 0
        finally:
            self.predictor.long_lines = long_lines
        _remember(place, count)
        return count

    def _key(self) -> str:
        """Return what stands for all that the choice depends on: shapes, engine, beam, versions, processor, threads."""
        predictor = self.predictor
        shapes = [(name, tuple(weight.shape)) for name, weight in predictor.network.named_parameters()]
        facts = (shapes, predictor.engine_said, predictor.options.beam, torch.__version__, processor(), self.most)
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:20]


def soonest(
    counts: Sequence[int], work: Callable[[int], object], clock: Callable[[], float] = time.perf_counter
) -> int:
    """Return with which of `counts` some work takes least time: the best of a few rounds after one that warms up.

    Work that takes long is not repeated for this: it gets the last of them.
    """
    best = dict.fromkeys(counts, float("inf"))
    start = clock()
    work(counts[-1])
    if clock() - start > SECONDS:
        return counts[-1]
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


def _place(name: str) -> Path | None:
    """Return where a number is kept, or None for a user without a home."""
    folder = cache_folder()
    return folder / name if folder else None


def _remembered(place: Path | None) -> int:
    """Return the number that is kept, or 0."""
    try:
        return int(place.read_text(encoding="ascii")) if place else 0
    except (OSError, ValueError):
        return 0


def _remember(place: Path | None, count: int) -> None:
    """Keep a number for the next start; where nothing can be written it is tried again then."""
    if place is None:
        return
    try:
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomic(place, str(count))
    except OSError:
        return
