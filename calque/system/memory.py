"""Memory that an update frees, kept for the next: else the system takes it back and clears each page anew."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# <malloc.h> of the GNU C library.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
# The most that it takes: larger blocks are the system's own each time.
LARGEST_KEPT = 32 * 2**20
# What it comes to by its own rule, once a block of the largest size has been freed.
USUAL_TRIM = 2 * LARGEST_KEPT
NEVER = -1


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Keep what is freed while entered, in this process and those forked from it; then give it back.

    Nothing changes elsewhere than with the GNU C library on Linux.
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
