"""How long a step takes: estimated from products and bytes, or from the times of its operators on a few images.

The estimate takes for each operator its products or the bytes that it moves, whichever is longer, at rates that are
measured on the device in a fraction of a second; only ratios count in a plan. It misses what a kernel is good at: a
depthwise convolution takes many times what its products would. So where the device is at hand each operator is timed in
a step of two sizes, small enough for the budget, and between and beyond these its time is a straight line.
"""

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch.nn import functional as F

from striate.costing.compute import count, multiply_adds
from striate.graph.operators import Operator, OperatorGraph, Phase
from striate.graph.timing import Timed
from striate.planning.values import last_forward_start

REPEATS = 3
LAUNCH = 1e-5  # Seconds that every operator takes, however small.
LEAST_KNOWN = 0.9  # Share of a step's time that is measured, for all of it to be called so.


@dataclass(frozen=True, slots=True)
class Rates:
    """What a device does in a second.

    Args:
        macs: multiply-adds of convolutions.
        bytes: read and written by operators that compute little.
    """

    macs: float
    bytes: float

    def seconds(self, operator: Operator, graph: OperatorGraph) -> float:
        """Return the time of one operator."""
        if operator.view:
            return 0.0
        moved = sum(graph.tensors[index].size for index in {*operator.inputs, *operator.outputs})
        return max(count(multiply_adds(operator, graph)) / self.macs, moved / self.bytes) + LAUNCH


# A card that is not at hand: the ratio of a common one's 32-bit products to its memory's rate, from its data sheet.
TYPICAL_CARD = Rates(macs=6.5e12, bytes=3.6e11)


@dataclass(frozen=True, slots=True)
class Times:
    """What the operators of a network's step take on a device.

    Args:
        rates: of what was not measured.
        measured: the operators of a step without micro-batches, in their order, by its number of images.
    """

    rates: Rates
    measured: Mapping[int, Sequence[Timed]]

    def of(self, graph: OperatorGraph, size: int) -> tuple[list[float], bool]:
        """Return the seconds of each operator, and whether they were measured.

        Args:
            graph: of a step.
            size: images of a micro-batch.
        """
        estimated = [self.rates.seconds(operator, graph) for operator in graph.operators]
        sizes = sorted(self.measured)
        if not sizes:
            return estimated, False
        known = [_aligned(graph, self.measured[size]) for size in sizes]
        everywhere = set.intersection(*(set(at) for at in known))
        found = [
            _on_line(sizes, [at[index] for at in known], size) if index in everywhere else seconds
            for index, seconds in enumerate(estimated)
        ]
        return found, sum(found[index] for index in everywhere) >= LEAST_KNOWN * sum(found)


def _aligned(graph: OperatorGraph, timed: Sequence[Timed]) -> dict[int, float]:
    """Return the seconds of a graph's operators that were measured: the same names in the same order.

    A later micro-batch adds its gradients to those that are there, which the step that was measured did not.
    """
    found: dict[int, float] = {}
    before: Phase | None = None
    left: dict[Phase, deque[Timed]] = {}
    for index, operator in enumerate(graph.operators):
        if operator.view:
            continue
        if operator.phase is Phase.FORWARD and before is not Phase.FORWARD:  # Each micro-batch runs them all.
            left = {phase: deque(one for one in timed if one.phase is phase) for phase in Phase}
        before = operator.phase
        ahead = left[operator.phase]
        if ahead and ahead[0].name == operator.name:
            found[index] = ahead.popleft().seconds
    return found


def _on_line(sizes: Sequence[int], seconds: Sequence[float], size: int) -> float:
    """Return the time for a number of images, on the line through the times for two others, or through nothing."""
    if len(sizes) == 1:
        return seconds[0] * size / sizes[0]
    slope = max(0.0, (seconds[-1] - seconds[0]) / (sizes[-1] - sizes[0]))
    start = seconds[-1] - slope * sizes[-1]
    # Nothing takes less than no time: then more micro-batches never take less than fewer.
    return start + slope * size if start >= 0 else seconds[-1] * size / sizes[-1]


def step_seconds(graph: OperatorGraph, seconds: Sequence[float], parts: int) -> float:
    """Return the time of a step: each micro-batch is like the last."""
    last = range(last_forward_start(graph), len(graph.operators))
    once = sum(seconds[index] for index in last if graph.operators[index].phase is Phase.OPTIMIZER)
    return parts * (sum(seconds[index] for index in last) - once) + once


@cache
def measure_rates(device: str = "cpu", amp_dtype: str | None = None) -> Rates:
    """Measure a device: a convolution of 64 maps, with autocast if it is asked for, and a ReLU."""
    images = torch.ones(4, 64, 56, 56, device=device).contiguous(memory_format=torch.channels_last)
    kernel = torch.ones(64, 64, 3, 3, device=device).contiguous(memory_format=torch.channels_last)
    macs = 4 * 64 * 64 * 9 * 56 * 56

    def seconds(operation: object) -> float:
        assert callable(operation)
        best = float("inf")
        for _ in range(REPEATS + 1):  # The first is not like the others, and is not the best.
            began = time.perf_counter()
            operation()
            if device == "cuda":
                torch.cuda.synchronize()
            best = min(best, time.perf_counter() - began)
        return best

    amp = None if amp_dtype is None else getattr(torch, amp_dtype)
    with torch.no_grad(), torch.autocast(device, amp, enabled=amp is not None):
        convolving = seconds(lambda: F.conv2d(images, kernel, padding=1))
        large = torch.ones(4, 64, 224, 224, device=device)
        moving = seconds(lambda: F.relu(large))
    return Rates(macs / convolving, 2 * large.nbytes / moving)
