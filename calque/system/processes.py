"""Forked processes that compute with torch: how many threads there are while they work, and how a child begins.

Small operations lose more while two threads wait for each other than the second thread gains, so a process has one.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from calque.system.forks import end_with_parent


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread while entered."""
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(count)


def begin(*ignored: signal.Signals) -> None:
    """Prepare a child process: leave the `ignored` signals to the parent, use one thread, and end with the parent."""
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)
    end_with_parent()
