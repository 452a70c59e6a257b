"""Answer batches in several processes of one thread each, which share the weights loaded before they were forked."""

import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any

import torch

from calque.engines.ctranslate2.engine import CTranslate2
from calque.errors import ResourceError
from calque.predict.predictor import Answer, Predictor
from calque.system.processes import begin, can_fork, forking, one_thread

# Below so many batches for each process, forking costs more than it gives.
WORTH_FORKING = 2


@contextmanager
def spread(predictor: Predictor) -> Iterator[None]:
    """Let a predictor answer in as many processes as torch has threads, while entered.

    A GPU, a single thread, an engine with workers of its own, and a process that cannot fork are left as they are.
    """
    count = torch.get_num_threads()
    if count < 2 or not can_fork() or predictor.device.type != "cpu" or isinstance(predictor.engine, CTranslate2):
        yield
        return
    with one_thread(), Workers(predictor, count):
        yield


class Workers:
    """Be the place where a predictor searches its batches, while entered: `count` processes, forked when first needed.

    Every batch is answered as it would be here, by the same numbers, and answers come in the order of the batches.
    """

    def __init__(self, predictor: Predictor, count: int) -> None:
        self.predictor = predictor
        self.count = count
        self.pool: ProcessPoolExecutor | None = None
        self.children: set[BaseProcess] = set()

    def __enter__(self) -> "Workers":
        self.predictor.workers = self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.predictor.workers = None
        if kind is not None:
            # Nobody waits for what is left.
            self._kill()
        if self.pool is not None:
            self.pool.shutdown(cancel_futures=True)

    def __call__(self, batches: Sequence[list[Any]]) -> Iterator[list[list[Answer]]]:
        """Yield the answers to each batch of sources; ResourceError where a process was killed."""
        if self.pool is None and len(batches) < WORTH_FORKING * self.count:
            yield from self.predictor.search_here(batches)
            return
        self.pool = self.pool or self._fork()
        try:
            with forking():
                before = set(multiprocessing.active_children())
                answered = self.pool.map(_answer, batches)
                self.children |= set(multiprocessing.active_children()) - before
            yield from answered
        except BrokenProcessPool as error:
            self._kill()
            raise ResourceError(
                "a process that answered lines was killed, perhaps for memory: a smaller --batch takes less,"
                " --threads 1 takes one process"
            ) from error

    def _kill(self) -> None:
        """End the processes at once: a signal that asks them to leave is not theirs to answer."""
        for child in self.children:
            child.kill()

    def _fork(self) -> ProcessPoolExecutor:
        # The predictor reaches the children through the fork, so that nothing is copied.
        with forking() as context:
            return ProcessPoolExecutor(self.count, context, _begin, (self.predictor,))


_predictor: Predictor


def _begin(predictor: Predictor) -> None:
    global _predictor
    begin(signal.SIGINT, signal.SIGTERM)
    _predictor = predictor


def _answer(sources: list[Any]) -> list[list[Answer]]:
    (answers,) = _predictor.search_here([sources])
    return answers
