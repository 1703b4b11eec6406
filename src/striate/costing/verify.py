"""What a program really takes: on a CPU by torch's profiler, on a CUDA device by its allocator's own count.

The profiler reports each block of memory that torch's allocator hands out and takes back. Their running sum, on top of
what was there before, is the truth that a prediction is compared with; it includes what oneDNN allocates through torch
below the dispatcher. (The size of the process says something else: the C library's allocator keeps what it was given
back, and was seen to hold up to 41 % more.)

To be called in a process of its own: a profiler disturbs what else runs, and what ran before disturbs it.
"""

import gc
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from striate.graph.programs import Program


@dataclass(slots=True)
class Peak:
    """The most bytes of tensors alive at one moment; 0 until it is known."""

    size: int = 0


@contextmanager
def watched(held: Iterable[Tensor], device: str = "cpu") -> Iterator[Peak]:
    """Find the peak of what runs in this context.

    Args:
        held: what is there already, and is not allocated in the context.
        device: ``cpu`` or ``cuda``.
    """
    peak = Peak()
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        yield peak
        torch.cuda.synchronize()
        peak.size = torch.cuda.max_memory_allocated()
        return
    os.environ.setdefault(
        "KINETO_LOG_LEVEL", "6"
    )  # Else the profiler writes to standard error when it starts and stops.
    blocks = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in held}
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as profiler:
        yield peak
    assert profiler.profiler is not None
    results = profiler.profiler.kineto_results
    assert results is not None
    changes = [event for event in results.events() if event.name() == "[memory]"]
    now = peak.size = sum(blocks.values())
    for change in sorted(changes, key=torch._C._autograd._KinetoEvent.start_ns):
        now += change.nbytes()
        peak.size = max(peak.size, now)


def measure_peak(program: Program, device: str) -> int:
    """Run a program for real, and return the most bytes of tensors alive.

    It runs once unmeasured, so that what torch makes only once is there, the libraries' workspaces and the optimizer's
    state.
    """
    program.begin()
    program.run(lambda _phase: nullcontext())
    gc.collect()
    network = program.network
    held = (*network.parameters(), *network.buffers(), *program.given, *program.state())
    with watched(held, device) as peak:
        program.run(lambda _phase: nullcontext())
    return peak.size
