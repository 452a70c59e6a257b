"""Search batches in several processes of one thread each, which share the weights through the fork."""

import multiprocessing
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any

import torch

from calque.errors import ResourceError
from calque.predict.writer import Answer
from calque.system.forks import forking
from calque.system.processes import begin

if TYPE_CHECKING:
    from calque.predict.predictor import Predictor

# Processes take about this long to start and to end, so shorter work is done in one process.
WORTH_SECONDS = 0.3


def in_main_thread() -> bool:
    """Return whether this is the main thread: only it may fork and change torch's number of threads.

    Both affect the whole process: a child that another thread forks may wait for a lock that is never released.
    """
    return threading.current_thread() is threading.main_thread()


def search_in_processes(
    predictor: "Predictor", batches: Sequence[Sequence[Any]], count: int
) -> Iterator[list[list[Answer]]]:
    """Yield the answers to each batch of sources, in order; the processes end with the generator.

    Raises ResourceError if one of them is killed.
    """
    # The children get Predictor and batches by the fork, without copying.
    before, children = set(multiprocessing.active_children()), set[BaseProcess]()
    with forking() as context:
        pool = ProcessPoolExecutor(min(count, len(batches)), context, _begin, (predictor, batches))
    try:
        try:
            with forking():
                answered = pool.map(_search, range(len(batches)))
        finally:
            children = set(multiprocessing.active_children()) - before
        yield from answered
    except BaseException as error:
        # The remaining results are not needed. The processes ignore SIGINT and SIGTERM, so they are killed.
        for child in children:
            child.kill()
        if isinstance(error, BrokenProcessPool):
            raise ResourceError(
                "a process that answered lines was killed, perhaps because memory ran out. A smaller --batch (in Python"
                " batch_size) needs less memory, and --threads 1 (in Python processes=1) uses one process."
            ) from error
        raise
    finally:
        pool.shutdown(cancel_futures=True)


_work: "tuple[Predictor, Sequence[Sequence[Any]]]"


def _begin(predictor: "Predictor", batches: Sequence[Sequence[Any]]) -> None:
    global _work
    begin(signal.SIGINT, signal.SIGTERM)
    predictor.network.eval()
    _work = predictor, batches


def _search(number: int) -> list[list[Answer]]:
    predictor, batches = _work
    batch = predictor.reader.collate(batches[number], predictor.device)
    with torch.inference_mode():
        hypotheses = predictor.engine(batch.record, batch.lengths, batch.prefixes, predictor.options)
    return predictor.writer.write(hypotheses, batch.sources)
