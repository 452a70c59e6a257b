"""Settings of the memory allocator and of oneDNN's cache of kernels, for fast updates in little memory."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# <malloc.h> of the GNU C library.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
# The largest value that the library accepts: larger blocks are always returned to the system.
LARGEST_KEPT = 32 * 2**20
# The threshold that the library sets by its own rule after a block of the largest size was freed.
USUAL_TRIM = 2 * LARGEST_KEPT
NEVER = -1


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Keep freed memory in this process and its forks while entered, and return it to the system afterwards.

    Otherwise each update would return its memory, and the system would clear every page again for the next one. Without
    the GNU C library on Linux, this does nothing.
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if library is None or not (hasattr(library, "mallopt") and hasattr(library, "malloc_trim")):
        yield
        return
    library.mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)
    library.mallopt(M_TRIM_THRESHOLD, NEVER)
    try:
        yield
    finally:
        library.mallopt(M_TRIM_THRESHOLD, USUAL_TRIM)
        library.malloc_trim(0)


def limit_kernel_cache() -> None:
    """Limit the number of kernels that oneDNN, which computes LSTMs on a CPU, keeps in memory.

    oneDNN compiles kernels for each shape of a batch and keeps up to 1,024 of them, which takes hundreds of megabytes
    in a long training or a server. An update needs a few, and the next one has other shapes. The limit is read once,
    before the first use of oneDNN; a value that the user has set stays.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
