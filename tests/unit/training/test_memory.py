"""Memory that updates free is kept while they run, and only then."""

import subprocess
import sys

import pytest

# Two blocks that the C library would give back when they are freed: one that it maps by itself, one atop its heap.
PROGRAM = """
import ctypes, resource
from calque.training.memory import freed_memory_kept

library = ctypes.CDLL(None)
library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
library.free.argtypes = [ctypes.c_void_p]

def pages(size):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        block = library.malloc(size)
        ctypes.memset(block, 1, size)
        library.free(block)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) * resource.getpagesize() / size

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

SIZE = 24 * 2**20
with freed_memory_kept():
    kept, held = pages(SIZE), resident()
print(kept, (held - resident()) / SIZE, pages(3 * SIZE))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the GNU C library's settings are what is tested")
def test_freed_memory_is_kept_for_the_next_update_and_given_back_at_the_end() -> None:
    answer = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    kept, given_back, afterwards = map(float, answer.stdout.split())
    assert kept < 1.5, "ten blocks after one another take fresh pages once"
    assert given_back > 0.8, "what was kept is the system's again"
    assert afterwards > 8, "blocks larger than the largest that is kept take fresh pages each time"
