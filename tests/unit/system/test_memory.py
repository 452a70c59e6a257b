"""Memory that updates free is the system's again when training ends, and errors pass through."""

import subprocess
import sys

import pytest

from calque.system.memory import freed_memory_kept

PROGRAM = """
import resource
import torch
from calque.system.memory import freed_memory_kept

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

def work():
    return sum(float(block.sum()) for block in [torch.ones(2**18) for _ in range(200)])

work()
before = resident()
with freed_memory_kept():
    work()
print((resident() - before) / 2**20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc")
def test_what_training_freed_is_the_systems_again() -> None:
    """Of 200 MB at most a tenth stays."""
    answer = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert float(answer.stdout) < 20


def test_an_error_passes_through() -> None:
    with pytest.raises(ZeroDivisionError), freed_memory_kept():
        raise ZeroDivisionError
