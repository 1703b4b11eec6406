"""How much memory there is, and how much of it a user grants."""

import os
import re
import resource
import sys
from pathlib import Path

from striate.costing.devices.cuda import card_bytes
from striate.errors import UsageError
from striate.units import format_bytes, parse_bytes


def machine_bytes() -> int:
    """Return the memory that a process can have here: the machine's, or less where a container's limit says so."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = Path("/sys/fs/cgroup/memory.max")
    granted = limit.read_text().strip() if limit.exists() else "max"
    return total if granted == "max" else min(total, int(granted))


def find_budget(memory: str | int | None, gpu: str | None = None) -> int:
    """Return the bytes that a user grants.

    Args:
        memory: such as ``"4GiB"``, ``"80%"`` or a number of bytes; None for all that a card has.
        gpu: the card that is planned for; the CPU's memory by default.

    Raises:
        UsageError: for what is no number of bytes, nothing, or more than there is.
    """
    there = machine_bytes() if gpu is None else card_bytes(gpu)
    if memory is None:
        if gpu is None:
            raise UsageError(expected="--memory", received="none", remedy="Such as --memory 4GiB or --memory 80%.")
        return there
    share = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", str(memory))
    budget = round(float(share[1]) / 100 * there) if share else parse_bytes(str(memory))
    if not 0 < budget <= there:
        raise UsageError(
            expected=f"a budget up to {format_bytes(there)}, which {'this machine' if gpu is None else gpu} has",
            received=str(memory),
            remedy="Grant less; for a card that you do not have here, name it with --gpu.",
        )
    return budget


def resident_bytes() -> int:
    """Return the memory that this process holds now, with Python and torch; the most so far where that is not known."""
    known = Path("/proc/self/statm")
    if known.exists():
        return int(known.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
