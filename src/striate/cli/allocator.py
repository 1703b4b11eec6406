"""Memory that is no longer needed, given back."""

import ctypes
import sys

MMAP_THRESHOLD = -3  # As malloc.h numbers it.
LARGE = 1_000_000


def return_freed_memory() -> None:
    """Have glibc give freed memory of large tensors back to the system at once, in this process from now on.

    By itself it raises the size up to which it keeps what is freed, to 32 MiB (mallopt(3), M_MMAP_THRESHOLD), and what
    it keeps lies in pieces between what is in use: with parts of many sizes, one after the other, the process would
    grow well beyond the bytes of tensors alive at once, which are what a budget is kept by.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # Other libraries than glibc have none.
        if mallopt is not None:
            mallopt(MMAP_THRESHOLD, LARGE)
