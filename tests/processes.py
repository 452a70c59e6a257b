"""What tests ask about processes that are not their own."""

import multiprocessing
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def is_running(number: int) -> bool:
    """Return whether a process is running, and not only waiting to be reaped."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@contextmanager
def ended_within_a_second_of(number: signal.Signals) -> Iterator[None]:
    """Send this process a signal from another one after a while; check that the block ends within a second."""
    began = time.monotonic()
    with subprocess.Popen(["sh", "-c", f"sleep 0.2; kill -{number.value} {os.getpid()}"]):
        yield
        seconds = time.monotonic() - began
    assert 0.2 <= seconds < 1.2
    assert not multiprocessing.active_children()
