"""How the process keeps memory that was freed, so that large arrays cost no more than their arithmetic."""

import ctypes
import os
import sys

_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8  # numbers of glibc's malloc.h
_NEVER = 2**31 - 1


def keep_freed_memory() -> None:
    """Have glibc keep what is freed, in one heap, until the process ends. Elsewhere it does nothing.

    XLA allocates the intermediate maps anew at each call, and glibc takes every block above 32 MiB from the system and
    gives it back, so that the system clears those pages again and again. Kept in the heap, they cost nothing: on two
    cores VGG16 classifies a quarter more images per second, and so does SqueezeNet in batches of 64; the peak of memory
    grows by a tenth at most there (`benchmarks/memory.py`). The user's own `MALLOC_…` or `GLIBC_TUNABLES` go first.
    """
    own = any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ)
    if own or not sys.platform.startswith("linux"):
        return
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return
    set_option(_ARENA_MAX, 1)  # The heaps of other threads are of 64 MiB at most.
    set_option(_MMAP_MAX, 0)
    set_option(_TRIM_THRESHOLD, _NEVER)
