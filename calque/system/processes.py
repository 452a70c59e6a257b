"""Processes forked from this one, and the number of threads while they work.

For small operations, waiting for a second thread takes longer than the thread saves, so each process uses one.
"""

import ctypes
import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

PR_SET_PDEATHSIG = 1


def can_fork() -> bool:
    """Return whether this process may fork children: on Linux, unless it is a daemonic process itself."""
    return sys.platform == "linux" and not multiprocessing.current_process().daemon


@contextmanager
def one_thread() -> Iterator[None]:
    """Use one thread inside the block."""
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(count)


@contextmanager
def forking() -> Iterator[multiprocessing.context.ForkContext]:
    """Yield the context for forking without the warning about threads: those of torch and numpy are idle meanwhile."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield multiprocessing.get_context("fork")


def begin(*ignored: signal.Signals) -> None:
    """Prepare a child: ignore the signals that the parent handles, use one thread, and end with the parent."""
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    if sys.platform == "linux" and parent is not None:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent.pid:
            os._exit(1)
