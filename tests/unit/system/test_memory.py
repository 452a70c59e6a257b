"""Memory that updates free is kept while they run, and only then."""

import subprocess
import sys

import pytest

# Blocks that the C library would map by themselves and give back when they are freed, counted in pages of 4 KiB.
PROGRAM = """
import ctypes, resource
from calque.system.memory import freed_memory_kept

library = ctypes.CDLL(None)
PR_SET_THP_DISABLE = 41
library.prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0)
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
given_back = (held - resident()) / SIZE
blocks = [library.malloc(SIZE) for _ in range(8)]
for block in blocks:
    ctypes.memset(block, 1, SIZE)
full = resident()
for block in blocks:
    library.free(block)
print(kept, given_back, (full - resident()) / SIZE)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the GNU C library's settings are what is tested")
def test_freed_memory_is_kept_for_the_next_update_and_given_back_at_the_end() -> None:
    answer = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    kept, given_back, afterwards = map(float, answer.stdout.split())
    assert kept < 1.5, "ten blocks after one another take fresh pages once"
    assert given_back > 0.8, "what was kept is the system's again"
    assert afterwards > 4, "and so is most of what is freed afterwards"
