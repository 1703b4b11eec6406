"""What a program really takes: on a CPU by torch's profiler, on a CUDA device by its allocator's own count.

The profiler reports each block of memory that torch's allocator hands out and takes back. Their running sum, on top of
what was there before, is the truth that a prediction is compared with; it includes what oneDNN allocates through torch
below the dispatcher. (The size of the process says something else: the C library's allocator keeps what it was given
back, and was seen to hold up to 41 % more.)

To be called in a process of its own: a profiler disturbs what else runs, and what ran before disturbs it.
"""

import gc
from contextlib import nullcontext

import torch
from torch.profiler import ProfilerActivity, profile

from striate.graph.programs import Program


def measure_cpu_peak(program: Program) -> int:
    """Run a program for real, on the CPU, and return the most bytes of tensors alive.

    It runs once unmeasured, so that what torch makes only once is there, and the optimizer's state.
    """
    program.begin()
    program.run(lambda _phase: nullcontext())
    gc.collect()
    network = program.network
    held = {
        tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
        for tensor in (*network.parameters(), *network.buffers(), *program.given, *program.state())
    }
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as profiler:
        program.run(lambda _phase: nullcontext())
    assert profiler.profiler is not None
    results = profiler.profiler.kineto_results
    assert results is not None
    changes = [event for event in results.events() if event.name() == "[memory]"]
    now = most = sum(held.values())
    for change in sorted(changes, key=torch._C._autograd._KinetoEvent.start_ns):
        now += change.nbytes()
        most = max(most, now)
    return most


def measure_cuda_peak(program: Program) -> int:
    """Run a program for real, on a CUDA device, and return the most bytes that torch's allocator has handed out.

    It runs once unmeasured, so that the libraries' workspaces are there and their algorithms chosen.
    """
    program.begin()
    program.run(lambda _phase: nullcontext())
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    program.run(lambda _phase: nullcontext())
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated()
