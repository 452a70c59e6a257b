"""Processes forked from this one: how many threads there are while they work, and what each of them does first.

Small operations lose more where two threads wait for each other than the second thread gives, so a process gets one.
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
    """Return whether this process may have children that it forks: on Linux, where it is no daemon's child itself."""
    return sys.platform == "linux" and not multiprocessing.current_process().daemon


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread while entered."""
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(count)


@contextmanager
def forking() -> Iterator[multiprocessing.context.ForkContext]:
    """Give the way to fork. Threads of torch and numpy rest meanwhile, and no child uses them: no warning is due."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield multiprocessing.get_context("fork")


def begin(*ignored: signal.Signals) -> None:
    """Be a child: leave the `ignored` signals to the parent, use one thread, and do not outlive the parent."""
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    if sys.platform == "linux" and parent is not None:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent.pid:
            os._exit(1)
