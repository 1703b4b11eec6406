"""Memory that is no longer needed, given back or kept."""

import ctypes
import sys

TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4  # As malloc.h numbers them.
LARGE = 1_000_000


def return_freed_memory() -> None:
    """Have glibc give freed memory of large tensors back to the system at once, in this process from now on.

    By itself it raises the size up to which it keeps what is freed, to 32 MiB (mallopt(3), M_MMAP_THRESHOLD), and what
    it keeps lies in pieces between what is in use: with parts of many sizes, one after the other, the process would
    grow well beyond the bytes of tensors alive at once, which are what a budget is kept by.
    """
    _set(MMAP_THRESHOLD, LARGE)


def keep_freed_memory() -> None:
    """Have glibc keep freed memory of large tensors for those that follow, in this process from now on.

    By itself it takes each of more than 32 MiB from the system and gives it back, and the system clears it page by page
    when it is written to: step after step the same, where all steps take the same. For what keeps to no budget: the
    process holds what it once took.
    """
    _set(MMAP_MAX, 0)
    _set(TRIM_THRESHOLD, -1)


def _set(parameter: int, value: int) -> None:
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # Other libraries than glibc have none.
        if mallopt is not None:
            mallopt(parameter, value)
